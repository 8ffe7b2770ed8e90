// Listeners.

import type { RivuletError } from "./errors.js";
import type { Message, StateChange } from "./types.js";

/** What `Client.on` tells, by name. */
export interface ClientEvents {
	/** A change of state. */
	state: StateChange;
	/** Milliseconds from a ping to its pong. */
	round_trip: { readonly ms: number };
	/** A subscription has lost messages for good. */
	gap: { readonly channel: string; readonly reason: string };
	/** A publish that failed, and errors that no promise and no iteration tells of. */
	error: RivuletError;
	/** A message that has come, before the application takes it. */
	message: Message;
}

/** Calls listeners; what they throw goes to `caught`. */
export class Emitter<Events extends object> {
	readonly #listeners = new Map<keyof Events, Set<(event: any) => void>>();
	readonly #caught: (error: unknown) => void;

	constructor(caught: (error: unknown) => void) {
		this.#caught = caught;
	}

	/** Listens until what it returns is called. */
	on<E extends keyof Events>(name: E, listener: (event: Events[E]) => void): () => void {
		const one = (event: Events[E]) => listener(event); // so that one function may listen twice
		const all = this.#listeners.get(name) ?? new Set();
		this.#listeners.set(name, all.add(one));
		return () => void all.delete(one);
	}

	emit<E extends keyof Events>(name: E, event: Events[E]): void {
		for (const listener of [...(this.#listeners.get(name) ?? [])]) {
			try {
				const done: any = listener(event);
				done?.catch?.(this.#caught); // of an async one
			} catch (e) {
				this.#caught(e);
			}
		}
	}

	clear(): void {
		this.#listeners.clear();
	}
}
