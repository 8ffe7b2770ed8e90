// Positions and offsets: where a subscription is (PROTOCOL.md, section 5).

const shape = /^([^-]*)-([0-9a-z]+)-/;

/** The stream that a position names (P-5.3), "" if it is none. */
export function streamOf(position: string): string {
	return position.indexOf("-") >= 5 ? position.slice(0, 5) : "";
}

/** The offset in a position (P-5.7), `undefined` if it is none. */
export function offsetOf(position: string): number | undefined {
	const digits = shape.exec(position)?.[2];
	return digits === undefined ? undefined : Number.parseInt(digits, 36);
}

/** The positions to resume from: one for a channel, the latest of each stream for a pattern. */
export class Places {
	readonly #pattern: boolean;
	readonly #last = new Map<string, string>();

	constructor(pattern: boolean) {
		this.#pattern = pattern;
	}

	set(positions: readonly string[], replace?: boolean): void {
		if (replace && positions.length > 0) this.#last.clear();
		for (const p of positions) if (p) this.#last.set(this.#pattern ? streamOf(p) : "", p);
	}

	list(): string[] {
		return [...this.#last.values()];
	}
}

/** Of how many channels of a pattern the last offset is kept, twice. */
const mostSeen = 8192;

interface Last {
	stream: string;
	offset: number;
}

interface Placed {
	readonly channel: string;
	readonly offset: number;
	readonly position: string;
}

/** Tells messages that came before (P-5.5). */
export class Seen {
	#young = new Map<string, Last>();
	#old = new Map<string, Last>();

	has({ channel, offset, position }: Placed): boolean {
		const last = this.#young.get(channel) ?? this.#old.get(channel);
		return last !== undefined && last.stream === streamOf(position) && offset <= last.offset;
	}

	note({ channel, offset, position }: Placed): void {
		if (this.#young.size >= mostSeen) {
			this.#old = this.#young;
			this.#young = new Map();
		}
		this.#young.set(channel, { stream: streamOf(position), offset });
	}

	/** Forgets one channel, or all. */
	forget(channel?: string): void {
		for (const map of [this.#young, this.#old]) channel ? map.delete(channel) : map.clear();
	}
}

/** Where a subscription began: by stream, the offset after which its messages lie (P-5.7). */
export class Starts {
	readonly #offsets = new Map<string, number>();

	constructor(positions: readonly string[]) {
		this.move(positions);
	}

	move(positions: readonly string[]): void {
		for (const p of positions) {
			const offset = offsetOf(p);
			if (offset !== undefined) this.#offsets.set(streamOf(p), offset);
		}
	}

	/** Whether a message lies after it. */
	before(position: string, offset: number): boolean {
		const start = this.#offsets.get(streamOf(position));
		return start === undefined || offset > start;
	}
}
