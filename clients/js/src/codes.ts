// What a client does after a code (P-6.1, P-6.4).

import { bounded } from "./backoff.js";
import { RivuletError } from "./errors.js";

const fatal = [1002, 1003, 1007, 1008, 1009, 1010];

const hundred = (code: number): number => Math.floor(code / 100);

/** Whether the same command may succeed later. */
export const temporary = (code: number): boolean =>
	code === 4408 || code === 4429 || hundred(code) === 45;

/** Whether to subscribe again after a subscription ended with the code. */
export const resubscribes = (code: number): boolean => hundred(code) === 46;

/** Whether a client comes back after a connection ended with the code. */
export const reconnects = (code: number): boolean =>
	code < 4200 || code > 4999 ? !fatal.includes(code) : temporary(code) || resubscribes(code);

/** The error that an `error` event tells. */
export const errorOf = (e: any): RivuletError =>
	new RivuletError(e.code, e.message, {
		field: e.field?.replace(/_(.)/g, (_: string, c: string) => c.toUpperCase()),
		temporary: e.temporary || temporary(e.code),
		retryAfterMs: bounded(e.retry_after_ms),
	});
