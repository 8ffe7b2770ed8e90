// What waits for the application: the one bounded queue between a subscription and whoever
// iterates or handles it.

import { Places } from "./cursor.js";
import type { Update } from "./types.js";

/** An update with the positions that are reached when it was handled. */
export interface Item {
	readonly update: Update<any>;
	places: string[];
	/** `places` are all there are. */
	readonly replace?: boolean;
	/** It tells of a beginning, or that it is over; one beginning outdates those just before it. */
	readonly begun?: boolean;
	/** See `Acks`. */
	readonly life?: number | undefined;
}

/** What was handled: an item, or places that came without one. */
export type Handled = Omit<Item, "update"> & { readonly update?: Update<any> };

/** The queue. Who pushes sees to its bound. */
export class Inbox {
	/** Of what the application has handled: it has asked for the next. */
	readonly handled: Places;
	readonly #onHandled: (item: Handled) => void;
	readonly #onTaken: () => void;
	#items: Item[] = [];
	#handed: Item | undefined;
	#waiters: (() => void)[] = [];
	#ended = false;

	constructor(pattern: boolean, onHandled: (item: Handled) => void, onTaken: () => void) {
		this.handled = new Places(pattern);
		this.#onHandled = onHandled;
		this.#onTaken = onTaken;
	}

	get length(): number {
		return this.#items.length;
	}

	push(item: Item): void {
		this.#items.push(item);
		this.#waiters.shift()?.();
	}

	/**
	 * Pushes `subscribed`, which does not wait for room: of several in a row, as reconnects
	 * bring, one stays, with the gap that any of them told of.
	 */
	pushBegun(begun: Item, gap?: Item): void {
		let told = gap;
		for (let last = this.#items.at(-1); last?.begun; last = this.#items.at(-1)) {
			this.#items.pop();
			if (last.update.type === "gap") told ??= { ...last, places: begun.places };
			else if (!begun.places[0]) this.note(last.places, last.life);
		}
		this.push(begun);
		if (told) this.push(told);
	}

	/** Notes positions that come without an update: reached with what came before them. */
	note(places: string[], life?: number): void {
		const before = this.#items.at(-1) ?? this.#handed;
		if (before) {
			const all = new Places(true);
			all.set([...before.places, ...places]);
			before.places = all.list();
		} else {
			this.handled.set(places);
			this.#onHandled({ places, life });
		}
	}

	/** Takes out what waits. */
	clear(): Update<any>[] {
		return this.#items.splice(0).map((item) => item.update);
	}

	/** Nothing is pushed after `last`. */
	end(last: Update<any>): void {
		this.#ended = true;
		this.#items.push({ update: last, places: [] });
		for (const wake of this.#waiters.splice(0)) wake();
	}

	/** The next update, `undefined` after the last. Asking says that the one before was handled. */
	async next(): Promise<Update<any> | undefined> {
		for (;;) {
			this.#settle();
			const item = this.#items.shift();
			if (item) {
				this.#handed = item;
				this.#onTaken();
				return item.update;
			}
			if (this.#ended) return undefined;
			await new Promise<void>((wake) => this.#waiters.push(wake));
		}
	}

	#settle(): void {
		const item = this.#handed;
		if (!item) return;
		this.#handed = undefined;
		this.handled.set(item.places, item.replace);
		this.#onHandled(item);
	}
}
