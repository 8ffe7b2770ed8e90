// The application's side of a subscription: what waits for it, the one bounded queue between the
// node and whoever iterates, or has its handlers called.

import { Places } from "./cursor.js";
import { RivuletError } from "./errors.js";
import type { Host } from "./host.js";
import type { Handlers, Message, SubscribeOptions, Update } from "./types.js";

/** An update with the positions that are reached when it was handled. */
export interface Item {
	readonly update: Update<any>;
	places: string[];
	/** `places` are all there are. */
	readonly entire?: boolean;
	/** It tells of a beginning, or that it is over; one beginning outdates those just before it. */
	readonly begun?: boolean;
	/** See `Acks`. */
	readonly life?: number | undefined;
}

/** What was handled: an item, or places that came without one. */
export type Handled = Omit<Item, "update"> & { readonly update?: Update<any> };

/** @internal Who pushes sees to the bound. */
export abstract class Stream<T> {
	readonly pattern: boolean;
	readonly ready: Promise<void>;
	/** Of what the application has handled: it has asked for the next. */
	readonly handled: Places;
	/** It has begun, or, with an error, will not. */
	protected settled!: (error?: RivuletError) => void;
	readonly handlers: Handlers<T> | undefined;
	#items: Item[] = [];
	#handed: Item | undefined;
	#waiters: (() => void)[] = [];
	#ended = false;
	#error: RivuletError | undefined;

	constructor(
		pattern: boolean,
		{ position = "", positions = [] }: SubscribeOptions,
		handlers: Handlers<T> | undefined,
		host: Pick<Host, "caught">,
	) {
		this.pattern = pattern;
		this.handled = new Places(pattern, [position, ...positions]);
		this.ready = new Promise((resolve, reject) => {
			this.settled = (error) => (error ? reject(error) : resolve());
		});
		this.ready.catch(() => {}); // it need not be heeded
		this.handlers = handlers;
		if (handlers) void this.#handle(handlers, host);
	}

	/** The application has handled it. */
	protected abstract onHandled(item: Handled): void;

	/** There is room for one more. */
	protected abstract onTaken(): void;

	get positions(): readonly string[] {
		return this.handled.list();
	}

	get position(): string | undefined {
		return this.pattern ? undefined : this.positions[0];
	}

	async *[Symbol.asyncIterator](): AsyncGenerator<Message<T>> {
		for await (const update of this.updates()) {
			if (update.type === "message") yield update.message;
		}
		if (this.#error) throw this.#error;
	}

	updates(): AsyncGenerator<Update<T>> {
		return this.#all(this.handlers);
	}

	async *#all(others?: Handlers<T>): AsyncGenerator<Update<T>> {
		if (others) throw new RivuletError(4400, "has handlers: iterate without");
		for (let u = await this.#next(); u; u = await this.#next()) yield u;
	}

	async #handle({ message, update }: Handlers<T>, host: Pick<Host, "caught">): Promise<void> {
		for await (const u of this.#all()) {
			try {
				await (u.type === "message" ? message?.(u.message) : update?.(u));
			} catch (e) {
				host.caught(e);
			}
		}
	}

	get waiting(): number {
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
		if (before) before.places = new Places(true, [...before.places, ...places]).list();
		else this.#reached({ places, life });
	}

	#reached(item: Handled): void {
		this.handled.set(item.places, item.entire);
		this.onHandled(item);
	}

	/** Takes out what waits. */
	drop(): Update<any>[] {
		return this.#items.splice(0).map((item) => item.update);
	}

	/** Nothing comes any more. */
	protected finish(error?: RivuletError): void {
		this.#error = error;
		this.#ended = true;
		this.#items.push({ update: { type: "unsubscribed", ...(error && { error }) }, places: [] });
		for (const wake of this.#waiters.splice(0)) wake();
		this.settled(error ?? new RivuletError(4700, "unsubscribed"));
	}

	/** The next update, `undefined` after the last. Asking says that the one before was handled. */
	async #next(): Promise<Update<any> | undefined> {
		for (;;) {
			const before = this.#handed;
			this.#handed = undefined;
			if (before) this.#reached(before);
			const item = this.#items.shift();
			if (item) {
				this.#handed = item;
				this.onTaken();
				return item.update;
			}
			if (this.#ended) return undefined;
			await new Promise<void>((wake) => this.#waiters.push(wake));
		}
	}
}
