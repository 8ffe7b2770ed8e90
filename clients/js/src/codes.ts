// What a client does after a code (P-6.1, P-6.4).

import { bounded } from "./backoff.js";
import { RivuletError } from "./errors.js";

const standardFatal = new Set([1002, 1003, 1007, 1008, 1009, 1010]);

/** Whether a client comes back after a connection ended with the code. */
export function reconnects(code: number): boolean {
	return !standardFatal.has(code) && !inRange(code, 4200, 4407) && !endsForGood(code);
}

const endsForGood = (code: number): boolean =>
	inRange(code, 4409, 4428) || inRange(code, 4430, 4499) || inRange(code, 4700, 4999);

const inRange = (code: number, from: number, to: number): boolean => code >= from && code <= to;

/** Whether the same command may succeed later. */
export const temporary = (code: number): boolean =>
	code === 4408 || code === 4429 || inRange(code, 4500, 4599);

/** Whether to subscribe again after a subscription ended with the code. */
export const resubscribes = (code: number): boolean => inRange(code, 4600, 4699);

/** Whether a publish that was answered so may have been stored all the same (P-3.6). */
export const leavesOpen = (code: number): boolean =>
	code === 4408 || (inRange(code, 4500, 4599) && code !== 4503);

/** The error that an `error` event tells. */
export function errorOf(e: any): RivuletError {
	return new RivuletError(e.code, e.message, {
		field: e.field,
		temporary: e.temporary || temporary(e.code),
		retryAfterMs: bounded(e.retry_after_ms),
	});
}
