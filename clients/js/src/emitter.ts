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
	/**
	 * A publish that failed, a subscription whose handlers are not told that it was refused, what closed
	 * the client, and what is tried again and again. But for publishes, where nobody listens these go
	 * to `onError`, or to the console.
	 */
	error: RivuletError;
	/** A message that has come, before the application takes it. */
	message: Message;
}

/** Calls listeners; what they throw goes to `onError`, or to the console. */
export class Emitter<Events extends object> {
	readonly listeners = new Map<keyof Events, Set<(event: any) => void>>();
	readonly #onError: ((error: unknown) => void) | undefined;

	constructor(onError?: (error: unknown) => void) {
		this.#onError = onError;
	}

	/** Listens until what it returns is called. */
	on<E extends keyof Events>(name: E, listener: (event: Events[E]) => void): () => void {
		const one = (event: Events[E]) => listener(event); // so that one function may listen twice
		const all = this.listeners.get(name) ?? new Set();
		this.listeners.set(name, all.add(one));
		return () => void all.delete(one);
	}

	/**
	 * Calls those of the name, and waits for none that is asynchronous. An error that nobody hears is no
	 * secret, unless a promise tells of it.
	 */
	tell<E extends keyof Events>(name: E, event: Events[E], promised?: boolean): void {
		const all = [...(this.listeners.get(name) ?? [])];
		if (name === "error" && !promised && !all[0]) this.caught(event);
		for (const listener of all) void this.#call(listener, event);
	}

	async #call(listener: (event: any) => unknown, event: unknown): Promise<void> {
		try {
			await listener(event);
		} catch (e) {
			this.caught(e);
		}
	}

	/** Takes what a callback of the application has thrown. */
	caught(error: unknown): void {
		try {
			(this.#onError ?? console.error)(error);
		} catch {
			// There is nobody left to tell.
		}
	}

	clear(): void {
		this.listeners.clear();
	}
}
