// What a client does after a code (P-6.1, P-6.4).

import { bounded } from "./backoff.js";
import { RivuletError, temporary } from "./errors.js";

const fatal = [1002, 1003, 1007, 1008, 1009, 1010];

/** Whether to subscribe again after a subscription ended with the code. */
export const resubscribes = (code: number): boolean => code >= 4600 && code < 4700;

/** Whether a client comes back after a connection ended with the code. */
export const reconnects = (code: number): boolean =>
	code < 4200 || code > 4999 ? !fatal.includes(code) : temporary(code) || resubscribes(code);

/** The error that an `error` event tells. */
export function errorOf(e: any): RivuletError {
	const field = e.field?.replace(/_(.)/g, (_: string, c: string) => c.toUpperCase());
	return new RivuletError(e.code, field ? `${field}: ${e.message}` : e.message, {
		field,
		temporary: e.temporary || undefined,
		retryAfterMs: bounded(e.retry_after_ms),
	});
}
