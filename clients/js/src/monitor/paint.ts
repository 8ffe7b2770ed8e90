// When the page was painted.

/** When a page was painted first, and its largest part, in milliseconds after it was asked for. */
export interface PaintTimes {
	first?: number;
	largest?: number;
}

/** A page that is painted later than this was opened in the background: nobody has waited for it. */
const background = 60_000;

/** The paints of this page, each told once however often the browser corrects it. */
export class Paints {
	#known: PaintTimes = {};
	readonly #told = new Set<string>();
	readonly #ends: (() => void)[];

	constructor() {
		this.#ends = [
			observe("paint", (e) => e.name === "first-contentful-paint" && this.#note("first", e)),
			observe("largest-contentful-paint", (e) => this.#note("largest", e)),
		];
	}

	#note(which: keyof PaintTimes, { startTime }: PerformanceEntry): void {
		if (startTime < background && !this.#told.has(which)) {
			this.#known[which] = Math.round(startTime);
		}
	}

	/** What was not told yet. */
	take(): PaintTimes {
		const known = this.#known;
		this.#known = {};
		for (const which of Object.keys(known)) this.#told.add(which);
		return known;
	}

	end(): void {
		for (const end of this.#ends) end();
	}
}

function observe(type: string, tell: (entry: PerformanceEntry) => unknown): () => void {
	if (
		typeof PerformanceObserver === "undefined" ||
		!PerformanceObserver.supportedEntryTypes?.includes(type)
	) {
		return () => {};
	}
	const observer = new PerformanceObserver((list) => {
		for (const entry of list.getEntries()) tell(entry);
	});
	observer.observe({ type, buffered: true });
	return () => observer.disconnect();
}
