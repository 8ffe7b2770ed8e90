// Time.

import type { Clock } from "./types.js";

/**
 * The clock of this machine. It never goes back and, unlike `performance.now` in some browsers,
 * counts the time that the machine slept: so whichever of two clocks went further counts. A wall
 * clock that is wrong does no harm, one that is set forward looks like a sleep.
 */
export function systemClock(): Clock {
	let total = 0;
	let steady = performance.now();
	let wall = Date.now();
	return {
		now() {
			const [s, w] = [performance.now(), Date.now()];
			total += Math.max(s - steady, w - wall, 0);
			[steady, wall] = [s, w];
			return total;
		},
		setTimeout: (callback, ms) => setTimeout(callback, ms),
		clearTimeout: (timer) => clearTimeout(timer as number),
	};
}
