// Tokens.

import type { Backoff } from "./backoff.js";
import { RivuletError } from "./errors.js";
import type { ClientOptions, Clock, TokenReason } from "./types.js";

/** What the application threw where a token was asked for, as an error of the SDK. */
export function tokenError(cause: any): RivuletError {
	if (cause instanceof RivuletError) return cause;
	const message = `the token function failed: ${cause?.message ?? cause}`;
	return new RivuletError(4503, message, { field: "token", cause, advice: "Tried again later." });
}

export const noToken = (): RivuletError =>
	new RivuletError(4408, "no token in time", { field: "token" });

/** What their renewal needs of their client. */
export interface TokenHost {
	readonly clock: Clock;
	readonly wait: Backoff;
	tell(event: "error", error: RivuletError): void;
}

/** The tokens of a client. */
export class Tokens {
	/** A function gives another one. */
	readonly renewable: boolean;
	readonly #token: ClientOptions["token"];
	/** Until it is renewed again; see renew.ts. */
	timer: unknown;

	constructor(token: ClientOptions["token"]) {
		this.#token = token;
		this.renewable = typeof token === "function";
	}

	/** Without the white space that comes with what is printed. Throws a RivuletError. */
	async get(reason: TokenReason): Promise<string | undefined> {
		const t = this.#token;
		if (t == null) return undefined;
		try {
			const token: unknown = typeof t === "function" ? await t(reason) : t;
			if (typeof token === "string") return token.trim();
			throw new TypeError(`the token is ${token && typeof token}, not a string`);
		} catch (e) {
			throw tokenError(e);
		}
	}
}
