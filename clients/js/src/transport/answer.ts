// Answers over HTTP: what is a node's, and what became of a request.

import { isObject, parse } from "../schema.js";
import type { TransportEnd } from "../types.js";

/** Most characters of an answer or an event: more than any node sends. */
export const mostText = 1 << 25;

/** Thrown: why a request came to nothing. It ends the transport, or `error` answers a command. */
export class Failure {
	constructor(
		readonly end: TransportEnd,
		/** The body of an `error` event. */
		readonly error?: any,
	) {}
}

export const problem = (
	code: number,
	message: string,
	field?: string,
	retry_after_ms = 0,
): any => ({
	code,
	message,
	...(field && { field }),
	temporary: code === 4408 || code === 4429 || code >= 4500,
	retry_after_ms,
});

/** The answer, if it is a node's and of the media type; else throws `Failure`. */
export async function checked(r: Response, type: string, signal: AbortSignal): Promise<Response> {
	const { status } = r;
	const is = r.headers.get("content-type") ?? "";
	if (r.ok && is.startsWith(type)) return r;
	const ours = /^application\/json/.test(is) && status > 399;
	const { message, data } = ours ? await object(r, signal) : {};
	const wait = data?.retry_after_ms || retryAfter(r.headers);
	const field = data?.field;
	const reason = `${message ?? `no answer of a node: HTTP ${status} ${is}`}`;
	// Of a proxy's own 5xx nobody knows whether the node has had the request (P-3.6).
	const code = ours || status < 500 ? 4000 + status : 4504;
	const text = field && reason.startsWith(`${field}: `) ? reason.slice(field.length + 2) : reason;
	const temporary = status > 499 || status === 429;
	throw new Failure(
		ours || temporary
			? { code: 1006, reason, status, retryAfterMs: wait }
			: { code: 1006, reason, blocked: true },
		status > 399 ? problem(code, text, field, wait) : undefined,
	);
}

/** Milliseconds; of a date only what lies after the answer's own: this machine's clock may be wrong. */
function retryAfter(headers: Headers): number {
	const after = headers.get("retry-after");
	if (!after) return 0;
	const span = Date.parse(after) - Date.parse(headers.get("date") ?? "");
	const ms = /^\d+$/.test(after) ? Number(after) * 1000 : span;
	return Math.min(Math.max(ms >= 0 || ms < 0 ? ms : 5000, 0), 3_600_000);
}

/** The JSON object of an answer. */
export async function object(r: Response, signal: AbortSignal): Promise<any> {
	let text = "";
	await pump(r, signal, (more) => {
		text += more;
		if (text.length > mostText) throw tooLarge();
	});
	const value = parse(text, "body");
	return isObject(value) ? value : {};
}

export const tooLarge = (): Failure =>
	new Failure({ code: 1009, reason: "an answer or event is too large" });

/** Calls `on` with the text of a body as it comes, until its end; never once `signal` is aborted. */
export async function pump(
	r: Response,
	signal: AbortSignal,
	on: (text: string) => void,
): Promise<void> {
	const reader = r.body?.getReader();
	if (!reader) return on(await r.text());
	const decoder = new TextDecoder();
	try {
		for (;;) {
			const { done, value } = await reader.read();
			if (done || signal.aborted) return;
			on(decoder.decode(value, { stream: true }));
		}
	} finally {
		reader.cancel().catch(() => {}); // it has ended, or nobody is interested any more
	}
}
