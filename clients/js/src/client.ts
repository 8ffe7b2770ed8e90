// The client: one connection kept up, and what runs over it.

import type { Channel } from "./channel.js";
import { lost } from "./connection.js";
import type { ClientEvents } from "./emitter.js";
import { RivuletError } from "./errors.js";
import type { Subscription } from "./host.js";
import { Keeper } from "./keeper.js";
import { more } from "./lazy.js";
import { toFields } from "./message.js";
import { canonical } from "./names.js";
import { type Ask, toAsk } from "./publish.js";
import { Sub } from "./subscription.js";
import type { ClientOptions, Handlers, State, SubscribeOptions, TransportName } from "./types.js";

/** A client of one Rivulet cluster. */
export class Client {
	readonly #keeper: Keeper;

	/**
	 * Prepares a client of the node at `url`: http(s) or ws(s), a path before `/v1` is kept. It
	 * connects when it is first used. Throws 4400 where the address is none.
	 */
	constructor(url: string, options: ClientOptions = {}) {
		this.#keeper = new Keeper(url, options);
	}

	/** Where the connection is; see `on("state")`. */
	get state(): State {
		return this.#keeper.state;
	}

	/** By which it is connected now. */
	get transport(): TransportName | undefined {
		return this.#keeper.routes?.link.transport;
	}

	/** Calls `listener` at every event of the name, until what is returned is called. */
	on<E extends keyof ClientEvents>(
		name: E,
		listener: (event: ClientEvents[E]) => void,
	): () => void {
		more?.checkEvent(name); // before, when that is loaded
		return this.#keeper.on(name, listener);
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
			const check = () => {
				const { why } = this.#keeper;
				if (this.state === "connected") resolve();
				else if (why) reject(why);
				else if (signal?.aborted) reject(signal.reason);
				else return;
				off();
				signal?.removeEventListener("abort", check);
			};
			const off = this.on("state", check);
			signal?.addEventListener("abort", check);
			check();
		});
		return quiet(ready);
	}

	/** Milliseconds from here to the node and back, measured now. Rejects if not connected. */
	roundTrip(): Promise<number> {
		const trip = new Promise<number>((resolve, reject) => {
			const pong = (ms?: number) => (ms === undefined ? reject(lost()) : resolve(ms));
			const { routes } = this.#keeper;
			if (routes) routes.link.ping(pong);
			else pong();
		});
		return quiet(trip);
	}

	/**
	 * A channel, or a pattern as in `orders:>`, by name; `x` is `default:x`. What is wrong with a name
	 * the node says when it is used.
	 */
	channel<T = unknown>(name: string): Channel<T> {
		const channel = canonical(`${name ?? ""}`);
		return {
			name: channel,
			publish: (data, options) => quiet(this.#ask("publish", channel, options, data)),
			history: (options) => quiet(this.#ask("history", channel, options)),
			presence: (options) => quiet(this.#ask("presence", channel, options)),
			subscribe: (options = {}, handlers) => this.#subscribe(channel, options, handlers),
		};
	}

	#subscribe<T>(channel: string, o: SubscribeOptions, handlers?: Handlers<T>): Subscription<T> {
		this.#open();
		more?.checkSubscribe(o, handlers); // before, when that is loaded
		toFields(o); // throws
		if (this.#keeper.subs.has(channel)) {
			const advice = "Share that subscription, or call its unsubscribe() first.";
			throw new RivuletError(4409, `subscribed to ${channel} already`, { advice });
		}
		const sub = new Sub<T>(this.#keeper, channel, o, handlers);
		this.#keeper.subs.set(channel, sub);
		sub.prepare();
		this.#keeper.begin();
		this.#keeper.routes?.add([sub]);
		return sub;
	}

	#open(): void {
		if (this.#keeper.why) throw this.#keeper.why;
	}

	async #ask(kind: Ask["kind"], channel: string, options = {}, data?: unknown): Promise<any> {
		try {
			const ask = toAsk(kind, channel, options, data);
			this.#open();
			this.#keeper.begin();
			return await this.#keeper.queue.ask(ask);
		} catch (e) {
			if (kind === "publish") this.#keeper.tell("error", e as RivuletError, true); // for who does not wait
			throw e;
		}
	}
}

/** Marks a promise as one that need not be waited for. */
function quiet<T>(promise: Promise<T>): Promise<T> {
	promise.catch(() => {});
	return promise;
}
