// Tokens.

import { RivuletError } from "./errors.js";

/** What the application threw where a token was asked for, as an error of the SDK. */
export function tokenError(cause: unknown): RivuletError {
	return cause instanceof RivuletError
		? cause
		: new RivuletError(4503, "no token", { field: "token", cause, advice: "See the cause." });
}

export const noToken = (): RivuletError =>
	new RivuletError(4408, "no token in time", { field: "token", temporary: true });
