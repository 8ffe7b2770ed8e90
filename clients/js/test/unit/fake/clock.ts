// Time that passes when a test says so.

import type { Clock } from "../../../src/types.js";

interface Timer {
	at: number;
	order: number;
	run: () => void;
}

/** A clock whose timers run in order; between them everything that was promised settles. */
export class FakeClock implements Clock {
	#now = 1_000;
	#order = 0;
	readonly timers = new Set<Timer>();

	now(): number {
		return this.#now;
	}

	setTimeout(run: () => void, ms: number): unknown {
		const timer = { at: this.#now + Math.max(ms, 0), order: this.#order++, run };
		this.timers.add(timer);
		return timer;
	}

	clearTimeout(timer: unknown): void {
		this.timers.delete(timer as Timer);
	}

	/** Lets `ms` milliseconds pass. */
	async pass(ms: number): Promise<void> {
		const until = this.#now + ms;
		await settled();
		for (let next = this.#next(until); next; next = this.#next(until)) {
			this.#now = Math.max(this.#now, next.at);
			this.timers.delete(next);
			next.run();
			await settled();
		}
		this.#now = until;
	}

	/** Time goes by while no timer runs, as in a machine that sleeps. */
	sleep(ms: number): void {
		this.#now += ms;
	}

	#next(until: number): Timer | undefined {
		let first: Timer | undefined;
		for (const t of this.timers) {
			if (t.at > until) continue;
			if (!first || t.at < first.at || (t.at === first.at && t.order < first.order)) first = t;
		}
		return first;
	}
}

/** Waits until no promise has anything to do at once. */
export function settled(): Promise<void> {
	return new Promise((resolve) => setImmediate(resolve));
}
