// Tokens.

import type { Backoff } from "./backoff.js";
import { RivuletError } from "./errors.js";
import type { Clock, TokenReason } from "./types.js";

/** What the application threw where a token was asked for, as an error of the SDK. */
export function tokenError(cause: any): RivuletError {
	if (cause instanceof RivuletError) return cause;
	const message = `the token function failed: ${cause?.message ?? cause}`;
	return new RivuletError(4503, message, { field: "token", cause, advice: "It is tried again." });
}

/** Without the white space that comes with what is printed. */
export function clean(token: unknown): string {
	if (typeof token === "string") return token.trim();
	throw new TypeError(`the token is ${token && typeof token}, not a string`);
}

export const noToken = (): RivuletError =>
	new RivuletError(4408, "no token in time", { field: "token" });

/** What their renewal needs of their client. */
export interface TokenHost {
	readonly clock: Clock;
	readonly wait: Backoff;
	/** Until it is renewed again. */
	renewal: unknown;
	/** Throws a RivuletError. */
	token(reason: TokenReason): Promise<string | undefined>;
	tell(event: "error", error: RivuletError): void;
}
