// Bounded samples of numbers.

/** How many numbers of a kind a report holds. */
const most = 50;

/** A fair sample of at most 50 of all numbers since the last `take`: reservoir sampling (Vitter, R). */
export class Samples {
	#values: number[] = [];
	#seen = 0;

	add(value: number): void {
		if (!Number.isFinite(value)) return;
		this.#seen++;
		if (this.#values.length < most) {
			this.#values.push(value);
			return;
		}
		const at = Math.floor(Math.random() * this.#seen);
		if (at < most) this.#values[at] = value;
	}

	/** In tenths of a millisecond, which is what clocks of browsers give. */
	take(): number[] {
		const values = this.#values.map((v) => Math.round(v * 10) / 10);
		this.#values = [];
		this.#seen = 0;
		return values;
	}
}

/** Delays beyond this are replays of what was stored before, in milliseconds. */
const replayed = 60_000;

/** How long the fastest message holds as a measure: a clock that is set is not wrong for longer. */
const lasting = 600_000;

/**
 * How long messages take, from clocks that may differ by hours: what a message took above the
 * fastest one is known, and the fastest took about half the fastest round trip.
 */
export class Delays {
	/** The least of the last ten minutes, and of the ten before. */
	#least = Number.POSITIVE_INFINITY;
	#leastBefore = Number.POSITIVE_INFINITY;
	#since: number;
	#leastRoundTrip = 0;
	readonly #began: number;
	readonly #deltas = new Samples();

	/** `now` is a clock that is not set, in milliseconds, here and below. */
	constructor(now: number) {
		this.#since = this.#began = now;
	}

	/** `delta` is the client's clock at arrival less the store's at storing. */
	add(delta: number, now: number): void {
		if (!Number.isFinite(delta)) return;
		if (now - this.#since > lasting) {
			this.#leastBefore = now - this.#since > 2 * lasting ? Number.POSITIVE_INFINITY : this.#least;
			this.#least = Number.POSITIVE_INFINITY;
			this.#since = now;
		}
		this.#least = Math.min(this.#least, delta);
		// Stored before anybody here was there to wait for it.
		if (delta - this.#fastest() > now - this.#began) return;
		this.#deltas.add(delta);
	}

	roundTrip(ms: number): void {
		this.#leastRoundTrip = this.#leastRoundTrip ? Math.min(this.#leastRoundTrip, ms) : ms;
	}

	take(): number[] {
		const half = this.#leastRoundTrip / 2;
		const fastest = this.#fastest();
		return this.#deltas
			.take()
			.map((delta) => delta - fastest)
			.filter((above) => above >= 0 && above < replayed)
			.map((above) => Math.round((above + half) * 10) / 10);
	}

	#fastest(): number {
		return Math.min(this.#least, this.#leastBefore);
	}
}
