// The one error class of the SDK, and what each code asks of an application.

/** What an application can do about a code, or else about those of its range (PROTOCOL.md, P-6.1). */
export const advice = (code: number): string =>
	(known[code] ??
		known[code - (code % 100)] ??
		known[code - (code % 200)] ??
		known[1000]) as string;

const fresh = "Sign in again; a function as token is asked anew.";

const later = "Try again later.";

/** By code, or range: what may come before a client is connected, and then what advice.ts has. */
export const known: Record<number, string> = {
	1000: "See the message; after a protocol error update the SDK.",
	1006: "It is tried again. Is a node there, and this origin in its session.origins?",
	4000: "The client reconnects by itself.",
	4006: fresh,
	4200: "Do not connect again with the same client; tell the user.",
	4201: fresh,
	4202: "Get a token that may connect.",
	4400: "Correct the request; the same one fails again.",
	4401: fresh,
	4403: "Get a token that allows it.",
	4408: later,
	4429: later,
	4500: later,
	4503: "Nothing was stored. Try again after retryAfterMs.",
};

/** Whether the same command may succeed later. */
export const temporary = (code: number): boolean =>
	code === 4408 || code === 4429 || (code >= 4500 && code < 4600);

/** Every error of the SDK. */
export class RivuletError extends Error {
	override readonly name: string = "RivuletError";
	/**
	 * 4000 to 4799: PROTOCOL.md, section 6; or 1000 to 1015, where a connection ended and the node has
	 * not said why: what RFC 6455 calls it.
	 */
	readonly code: number;
	/** The field of the command at fault. */
	readonly field: string | undefined;
	/** The same may succeed later, not before `retryAfterMs`. */
	readonly temporary: boolean;
	readonly retryAfterMs: number;
	/** What to do now, in a sentence. */
	readonly advice: string;

	constructor(
		code: number,
		message: string,
		more: {
			field?: string | undefined;
			temporary?: boolean | undefined;
			retryAfterMs?: number | undefined;
			advice?: string | undefined;
			cause?: unknown;
		} = {},
	) {
		super(message, more.cause ? { cause: more.cause } : undefined);
		this.code = code;
		this.field = more.field;
		this.temporary = more.temporary ?? temporary(code);
		this.retryAfterMs = more.retryAfterMs ?? 0;
		this.advice = more.advice ?? advice(code);
	}

	/** For JSON.stringify, which passes over the message of an Error. */
	toJSON(): object {
		return { ...this, message: this.message };
	}
}
