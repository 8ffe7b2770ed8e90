// Positions and offsets: where a subscription is (PROTOCOL.md, section 5).

import type { Message } from "./types.js";

/** The stream that a position names (P-5.3), "" if it is none. */
export const streamOf = (position: string): string =>
	position.indexOf("-") < 5 ? "" : position.slice(0, 5);

/** The stream and its epoch: offsets of others cannot be compared. */
export const logOf = (position: string): string => position.slice(0, position.indexOf("-"));

/** The offset in a position (P-5.7), NaN if it is none. */
export const offsetOf = (position: string): number =>
	Number.parseInt(position.split("-")[1] ?? "", 36);

/** Positions: one of a channel, the latest of each stream of a pattern. */
export class Places {
	readonly #pattern: boolean;
	/** By stream. */
	readonly last = new Map<string, string>();

	constructor(pattern: boolean, positions: readonly string[] = []) {
		this.#pattern = pattern;
		this.set(positions);
	}

	/** Moves to these; with `anew` there are no others. */
	set(positions: readonly string[], anew?: boolean): void {
		if (anew && positions[0]) this.last.clear();
		for (const position of positions) {
			if (!this.#pattern && position) this.last.clear();
			if (position) this.last.set(streamOf(position), position);
		}
	}

	list(): string[] {
		return [...this.last.values()];
	}

	/** Whether a message at `position` lies after them; one of another log does. */
	before(position: string, offset: number): boolean {
		const start = this.last.get(streamOf(position)) ?? "";
		return logOf(start) !== logOf(position) || !(offset <= offsetOf(start));
	}
}

/** Of how many channels of a pattern the last offset is kept. */
const mostSeen = 16_384;

type Placed = Pick<Message, "channel" | "position" | "offset">;

/** Tells messages that came before (P-5.5). */
export class Seen {
	/** The last of each channel, that of the newest last. */
	readonly #last = new Map<string, { log: string; offset: number }>();

	has({ channel, position, offset }: Placed): boolean {
		const last = this.#last.get(channel);
		return last?.log === logOf(position) && offset <= last.offset;
	}

	note({ channel, position, offset }: Placed): void {
		this.#last.delete(channel);
		this.#last.set(channel, { log: logOf(position), offset });
		if (this.#last.size > mostSeen) this.forget(this.#last.keys().next().value);
	}

	/** Forgets one channel, or all. */
	forget(channel?: string): void {
		channel ? this.#last.delete(channel) : this.#last.clear();
	}
}
