// Positions across page loads.

import type { PositionStorage } from "./types.js";

/** One entry of the application's storage. Its errors go to `failed` and stop nothing. */
export class Shelf {
	readonly #storage: PositionStorage;
	readonly #key: string;
	readonly #failed: (error: unknown) => void;
	#want: string | undefined;
	#busy = false;

	constructor(storage: PositionStorage, key: string, failed: (error: unknown) => void) {
		this.#storage = storage;
		this.#key = key;
		this.#failed = failed;
	}

	/** What was saved last, "" if nothing. */
	async load(): Promise<string> {
		try {
			const text: unknown = (await this.#storage.getItem(this.#key)) ?? "";
			if (typeof text === "string") return text;
			throw new TypeError(`getItem gave ${typeof text}, not a string`);
		} catch (e) {
			this.#failed(e);
			return "";
		}
	}

	/** Saves, at once where the storage is synchronous, else one write after the other. */
	save(text: string): void {
		this.#want = text;
		if (!this.#busy) void this.#write();
	}

	async #write(): Promise<void> {
		this.#busy = true;
		while (this.#want !== undefined) {
			const text = this.#want;
			this.#want = undefined;
			try {
				const written: any = text
					? this.#storage.setItem(this.#key, text)
					: this.#storage.removeItem(this.#key);
				if (written?.then) await written; // of whichever library the promise is
			} catch (e) {
				this.#failed(e);
			}
		}
		this.#busy = false;
	}
}
