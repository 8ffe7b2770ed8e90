// The client: one connection kept up, and what runs over it.

import { backoff } from "./backoff.js";
import type { Channel } from "./channel.js";
import { systemClock } from "./clock.js";
import { lost } from "./connection.js";
import { type ClientEvents, Emitter } from "./emitter.js";
import { RivuletError } from "./errors.js";
import type { Host, Subscription } from "./host.js";
import { Keeper } from "./keeper.js";
import { toFields } from "./message.js";
import { canonical } from "./names.js";
import { baseOf, only, partOf } from "./options.js";
import { type Ask, toAsk } from "./publish.js";
import { Queue } from "./queue.js";
import { Sub } from "./subscription.js";
import type { ClientOptions, Handlers, State, SubscribeOptions, TransportName } from "./types.js";

const subscribeOptions =
	"position positions last since persist durable conflate maxRate filter presence token buffer";

/** A client of one Rivulet cluster. */
export class Client {
	readonly #o: ClientOptions;
	readonly #subs = new Map<string, Sub>();
	readonly #events: Emitter<ClientEvents>;
	readonly #queue: Queue;
	/** Its `routes` are there while connected. */
	readonly #host: Host;
	readonly #keeper: Keeper;

	/**
	 * Prepares a client of the node at `url`: http(s) or ws(s), a path before `/v1` is kept. It
	 * connects when it is first used. Throws 4400 where the address is none.
	 */
	constructor(url: string, options: ClientOptions = {}) {
		const o = options;
		this.#o = o;
		const bases = [url, ...(o.urls ?? [])].map(baseOf);
		const storage = o.storage && partOf(o.storage, bases[0] as string);
		this.#events = new Emitter((e) => this.#caught(e));
		const get = o.fetch ?? ((...args: Parameters<typeof fetch>) => fetch(...args));
		const clock = o.clock ?? systemClock();
		const wait = backoff(o.backoff?.base, o.backoff?.cap, o.random);
		this.#host = {
			clock,
			wait,
			storage,
			subs: this.#subs,
			holds: new Set(),
			had: undefined,
			apart: false,
			routes: undefined,
			remove: (sub) => this.#subs.get(sub.channel) === sub && this.#subs.delete(sub.channel),
			caught: (e) => this.#caught(e),
			tell: (name: keyof ClientEvents, event: any) => this.#events.emit(name, event),
		};
		this.#queue = new Queue(this.#host, o.replyTimeout ?? 15_000, o.queue);
		this.#keeper = new Keeper(bases, { ...o, fetch: get }, this.#host, this.#events, this.#queue);
	}

	/** Where the connection is; see `on("state")`. */
	get state(): State {
		return this.#keeper.state;
	}

	/** By which it is connected now. */
	get transport(): TransportName | undefined {
		return this.state === "connected" ? this.#keeper.link?.transport : undefined;
	}

	/** Calls `listener` at every event of the name, until what is returned is called. */
	on<E extends keyof ClientEvents>(
		name: E,
		listener: (event: ClientEvents[E]) => void,
	): () => void {
		only("events", { [name]: 0 }, "state round_trip gap error message");
		return this.#events.on(name, listener);
	}

	/** Connects, if it is not on its way; also after `disconnect`. */
	connect(): void {
		this.#keeper.connect();
	}

	/** Ends the connection until `connect`. Subscriptions and publishes stay, and wait. */
	disconnect(): void {
		this.#keeper.frozen = false;
		this.#keeper.leave("disconnected");
	}

	/** Ends the client, all subscriptions, and what waits. Nothing of it is left. */
	close(): void {
		this.#keeper.end();
	}

	/** Resolves when connected; rejects when closed or aborted. Connects a client not used yet. */
	ready(signal?: AbortSignal): Promise<void> {
		this.#keeper.begin();
		const ready = new Promise<void>((resolve, reject) => {
			const check = (error?: RivuletError) => {
				if (this.state === "connected") resolve();
				else if (this.state === "closed") reject(error ?? closedError());
				else if (signal?.aborted) reject(signal.reason);
				else return;
				off();
				signal?.removeEventListener("abort", aborted);
			};
			const aborted = () => check();
			const off = this.on("state", ({ error }) => check(error));
			signal?.addEventListener("abort", aborted);
			check();
		});
		return quiet(ready);
	}

	/** Milliseconds from here to the node and back, measured now. Rejects if not connected. */
	roundTrip(): Promise<number> {
		const trip = new Promise<number>((resolve, reject) => {
			const pong = (ms?: number) => (ms === undefined ? reject(lost()) : resolve(ms));
			if (this.#host.routes) this.#keeper.link?.ping(pong);
			else pong();
		});
		return quiet(trip);
	}

	/** A channel, or a pattern as in `orders:>`, by name; `x` is `default:x`. */
	channel<T = unknown>(name: string): Channel<T> {
		const channel = canonical(name);
		return {
			name: channel,
			publish: (data, options = {}) => quiet(this.#ask("publish", channel, options, data)),
			history: (options = {}) => quiet(this.#ask("history", channel, options)),
			presence: (options = {}) => quiet(this.#ask("presence", channel, options)),
			subscribe: (options = {}, handlers) => this.#subscribe(channel, options, handlers),
		};
	}

	#subscribe<T>(channel: string, o: SubscribeOptions, handlers?: Handlers<T>): Subscription<T> {
		if (this.state === "closed") throw closedError();
		only("options", o, subscribeOptions);
		toFields(o); // throws
		only("handlers", handlers ?? {}, "message update");
		if (this.#subs.has(channel)) {
			const advice = "Share that subscription, or call its unsubscribe() first.";
			throw new RivuletError(4409, `subscribed to ${channel} already`, { advice });
		}
		const sub = new Sub<T>(this.#host, channel, o, handlers);
		this.#subs.set(channel, sub);
		sub.prepare();
		this.#keeper.begin();
		this.#host.routes?.add([sub]);
		return sub;
	}

	async #ask(kind: Ask["kind"], channel: string, options: object, data?: unknown): Promise<any> {
		try {
			const ask = toAsk(kind, channel, options, data);
			if (this.state === "closed") throw closedError();
			this.#keeper.begin();
			return await this.#queue.ask(ask);
		} catch (e) {
			if (kind === "publish") this.#events.emit("error", e as RivuletError); // for who does not wait
			throw e;
		}
	}

	#caught(error: unknown): void {
		try {
			(this.#o.onError ?? console.error)(error);
		} catch {
			// There is nobody left to tell.
		}
	}
}

/** Marks a promise as one that need not be waited for. */
function quiet<T>(promise: Promise<T>): Promise<T> {
	promise.catch(() => {});
	return promise;
}

const closedError = (): RivuletError =>
	new RivuletError(4503, "the client is closed", { temporary: false, advice: "Make a new one." });
