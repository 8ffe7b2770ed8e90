// Commands that may be sent twice, until they are answered: history and presence.

import type { Backoff } from "./backoff.js";
import type { Link } from "./connection.js";
import { RivuletError } from "./errors.js";
import type { Clock, Frame } from "./types.js";

interface Entry {
	readonly command: Frame;
	readonly settle: (reply: Frame | RivuletError) => void;
	failures: number;
	retry?: unknown;
}

/** The requests of a client. */
export class Requests {
	readonly #clock: Clock;
	readonly #wait: Backoff;
	readonly #timeout: number;
	readonly #entries = new Set<Entry>();
	#link: Link | undefined;

	constructor(clock: Clock, wait: Backoff, timeout: number) {
		this.#clock = clock;
		this.#wait = wait;
		this.#timeout = timeout;
	}

	/** Asks until there is an answer, over one link or another, or the time is over. */
	ask(command: Frame): Promise<Frame> {
		return new Promise((resolve, reject) => {
			const timer = this.#clock.setTimeout(
				() => entry.settle(new RivuletError(4408, "no reply in time", { temporary: true })),
				this.#timeout,
			);
			const settle = (reply: Frame | RivuletError) => {
				this.#entries.delete(entry);
				for (const t of [timer, entry.retry]) this.#clock.clearTimeout(t);
				if (reply instanceof RivuletError) reject(reply);
				else resolve(reply);
			};
			const entry: Entry = { command, settle, failures: 0 };
			this.#entries.add(entry);
			this.#send(entry);
		});
	}

	/** A link to ask over. */
	connected(link: Link): void {
		this.#link = link;
		for (const entry of this.#entries) this.#send(entry);
	}

	/** Gives all up. */
	close(): void {
		this.#link = undefined;
		for (const entry of this.#entries) entry.settle(new RivuletError(4503, "client closed"));
	}

	#send(entry: Entry): void {
		const link = this.#link;
		if (!link?.isUp || !this.#entries.has(entry)) return;
		this.#clock.clearTimeout(entry.retry);
		link.call(entry.command, (frame, error) => {
			if (!this.#entries.has(entry) || link.isLost) return;
			if (frame) return entry.settle(frame);
			if (!error?.temporary) return entry.settle(error ?? new RivuletError(4500, ""));
			const wait = this.#wait(++entry.failures, error.retryAfterMs);
			entry.retry = this.#clock.setTimeout(() => this.#send(entry), wait);
		});
	}
}
