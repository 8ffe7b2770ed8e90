// Which transport the next attempt uses. That there is a choice is found out when one fails, which
// is seldom: see choice.ts.

import type { Choice, ChoiceOptions } from "./choice.js";
import type { RivuletError } from "./errors.js";
import { chunks, notLoaded } from "./lazy.js";
import type { TransportName } from "./types.js";

/** The first of the list, until another one has a reason. */
export class Fallback {
	readonly #o: ChoiceOptions & { failed(error: RivuletError): void };
	#choice: Choice | undefined;
	#closed = false;

	constructor(options: ChoiceOptions & { failed(error: RivuletError): void }) {
		this.#o = options;
	}

	/** Takes up what was remembered. */
	async remember(): Promise<void> {
		const { storage, transports } = this.#o;
		try {
			if (!transports[1] || !(await storage?.getItem("transport"))) return;
		} catch {
			return; // a storage that fails stops nothing
		}
		await this.#choose((choice) => choice.remember());
	}

	/** The one for the next attempt. */
	next(): TransportName {
		return this.#choice?.next() ?? (this.#o.transports[0] as TransportName);
	}

	/** It has connected. */
	worked(): void {
		this.#choice?.worked();
	}

	/** An attempt has failed; `blocked` as in `Loss`. */
	failed(base: string, blocked = 0): void {
		if (blocked && this.#o.transports[1])
			void this.#choose((choice) => choice.failed(base, blocked));
		else this.#choice?.failed(base);
	}

	/** Ends what is under way. */
	close(): void {
		this.#closed = true;
		this.#choice?.close();
	}

	/** Does something with the choice; where it cannot be loaded, the next failure tries again. */
	async #choose(use: (choice: Choice) => unknown): Promise<void> {
		try {
			const { Choice } = await chunks.choice();
			if (this.#closed) return;
			this.#choice ??= new Choice(this.#o);
			await use(this.#choice);
		} catch (cause) {
			this.#o.failed(notLoaded(cause));
		}
	}
}
