// Time.

import type { Clock } from "./types.js";

/**
 * The clock of this machine. Unlike `performance.now` in some browsers it counts the time that
 * the machine slept, and unlike `Date.now` it never goes back. A clock that is set forward looks
 * like a sleep, which does no harm.
 */
export function systemClock(): Clock {
	let total = 0;
	let last = Date.now();
	return {
		now() {
			const wall = Date.now();
			total += Math.max(wall - last, 0);
			last = wall;
			return total;
		},
		// More than that would be none at all, as of a `timeout` of Infinity.
		setTimeout: (callback, ms) => setTimeout(callback, Math.min(ms, 0x7fffffff)),
		clearTimeout: (timer) => clearTimeout(timer as number),
	};
}
