// The client: one connection kept up, and what runs over it.

import { backoff } from "./backoff.js";
import type { Channel } from "./channel.js";
import { systemClock } from "./clock.js";
import { errorOf } from "./codes.js";
import { Link, type Loss, lost } from "./connection.js";
import { Emitter } from "./emitter.js";
import { RivuletError } from "./errors.js";
import { Fallback } from "./fallback.js";
import type { Host, Subscription } from "./host.js";
import { json } from "./json.js";
import { isOffline, watchPage } from "./lifecycle.js";
import { follows } from "./machine.js";
import { toFields, toHistory } from "./message.js";
import { canonical } from "./names.js";
import { baseOf, hasWebSocket, only, partOf, transportsOf } from "./options.js";
import { toPublish } from "./publish.js";
import { type Ask, Queue } from "./queue.js";
import { inOrder, Routes } from "./routes.js";
import { Sub } from "./subscription.js";
import { noToken, Tokens, tokenError } from "./token.js";
import { opens } from "./transports.js";
import type {
	ClientOptions,
	Frame,
	Handlers,
	Message,
	OpenTransport,
	Published,
	PublishOptions,
	State,
	StateChange,
	SubscribeOptions,
	TransportName,
} from "./types.js";

/** Milliseconds that a connection over HTTP must stand to be one: its streams begin after it. */
const stands = 10_000;

/** Milliseconds between attempts where the browser says that there is no network: it may be wrong. */
const offlinePause = 30_000;

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

const subscribeOptions =
	"position positions last since persist durable conflate maxRate filter presence token buffer";

/** A client of one Rivulet cluster. */
export class Client {
	readonly #o: ClientOptions;
	readonly #bases: string[];
	readonly #subs = new Map<string, Sub>();
	readonly #tokens: Tokens;
	readonly #events: Emitter<ClientEvents>;
	readonly #queue: Queue;
	readonly #fallback: Fallback;
	/** Its `routes` are there while connected. */
	readonly #host: Host;
	readonly #fetch: typeof fetch;
	readonly #replyTimeout: number;
	#state: State = "initialized";
	/** What is being opened, or is up. */
	#link: Link | undefined;
	/** Attempts in a row that failed, and how many before the last that did not. */
	#failures = 0;
	#failuresBefore = 0;
	/** When the last began to. */
	#upSince = 0;
	/** Counts attempts, so that what comes late of an earlier one is told. */
	#attempt = 0;
	/** Counts through the nodes. */
	#turn = 0;
	/** Until the next attempt, or for this one. */
	#timer: unknown;
	/** Before then no attempt is made: the node said so. */
	#notBefore = 0;
	#rejected = false;
	#resumes = false;
	#frozen = false;
	#unwatch: (() => void) | undefined;

	/**
	 * Prepares a client of the node at `url`: http(s) or ws(s), a path before `/v1` is kept. It
	 * connects when it is first used. Throws 4400 where the address is none.
	 */
	constructor(url: string, options: ClientOptions = {}) {
		const o = options;
		this.#o = o;
		this.#bases = [url, ...(o.urls ?? [])].map(baseOf);
		const storage = o.storage && partOf(o.storage, this.#bases[0] as string);
		this.#events = new Emitter((e) => this.#caught(e));
		this.#fetch = o.fetch ?? ((...args) => fetch(...args));
		this.#replyTimeout = o.replyTimeout ?? 15_000;
		const clock = o.clock ?? systemClock();
		const wait = backoff(o.backoff?.base, o.backoff?.cap, o.random);
		const { messages = 100, bytes = 1 << 20 } = o.queue ?? {};
		this.#queue = new Queue({ clock, wait, replyTimeout: this.#replyTimeout, messages, bytes });
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
		this.#fallback = new Fallback({
			transports: transportsOf(o),
			storage,
			fetch: this.#fetch,
			clock,
			busy: (ms) => this.#busy(ms),
			failed: (e) => this.#events.emit("error", e),
		});
		this.#tokens = new Tokens(o.token, this.#host);
	}

	/** Where the connection is; see `on("state")`. */
	get state(): State {
		return this.#state;
	}

	/** By which it is connected now. */
	get transport(): TransportName | undefined {
		return this.#state === "connected" ? this.#link?.transport : undefined;
	}

	/** Calls `listener` at every event of the name, until what is returned is called. */
	on<E extends keyof ClientEvents>(
		name: E,
		listener: (event: ClientEvents[E]) => void,
	): () => void {
		return this.#events.on(name, listener);
	}

	/** Connects, if it is not on its way; also after `disconnect`. */
	connect(): void {
		this.#frozen = false;
		this.#start();
	}

	/** Ends the connection until `connect`. Subscriptions and publishes stay, and wait. */
	disconnect(): void {
		this.#frozen = false;
		this.#leave("disconnected");
	}

	/** Ends the client, all subscriptions, and what waits. Nothing of it is left. */
	close(): void {
		this.#end();
	}

	/** Resolves when connected; rejects when closed or aborted. Connects a client not used yet. */
	ready(signal?: AbortSignal): Promise<void> {
		this.#begin();
		const ready = new Promise<void>((resolve, reject) => {
			const check = (error?: RivuletError) => {
				if (this.#state === "connected") resolve();
				else if (this.#state === "closed") reject(error ?? closedError());
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
			if (this.#host.routes) this.#link?.ping(pong);
			else pong();
		});
		return quiet(trip);
	}

	/** A channel, or a pattern as in `orders:>`, by name; `x` is `default:x`. */
	channel<T = unknown>(name: string): Channel<T> {
		const channel = canonical(name);
		return {
			name: channel,
			publish: (data, options = {}) => quiet(this.#publish(channel, data, options)),
			history: (options = {}) =>
				quiet(this.#question("history", { channel, ...toFields(options) }).then(toHistory)),
			presence: (options = {}) =>
				quiet(
					this.#question("presence", { channel, ...options }).then((page) => ({
						members: [],
						partial: false,
						...page,
					})),
				),
			subscribe: (options = {}, handlers) => this.#subscribe(channel, options, handlers),
		};
	}

	#subscribe<T>(channel: string, o: SubscribeOptions, handlers?: Handlers<T>): Subscription<T> {
		if (this.#state === "closed") throw closedError();
		only("options", o, subscribeOptions);
		only("handlers", handlers ?? {}, "message update");
		if (this.#subs.has(channel)) {
			const advice = "Share that subscription, or call its unsubscribe() first.";
			throw new RivuletError(4409, `subscribed to ${channel} already`, { advice });
		}
		const sub = new Sub<T>(this.#host, channel, o, handlers);
		this.#subs.set(channel, sub);
		this.#begin();
		this.#host.routes?.add([sub]);
		return sub;
	}

	async #publish(channel: string, data: unknown, options: PublishOptions): Promise<Published> {
		try {
			const { deliver_at: deliverAt, ...p } = await this.#ask(toPublish(channel, data, options));
			return deliverAt ? { ...p, deliverAt } : p;
		} catch (e) {
			this.#events.emit("error", e as RivuletError); // for who does not wait
			throw e;
		}
	}

	#question(kind: "history" | "presence", body: object): Promise<any> {
		return this.#ask({ kind, reply: kind, body, size: 256, timeout: this.#replyTimeout });
	}

	async #ask(ask: Ask): Promise<any> {
		if (this.#state === "closed") throw closedError();
		this.#begin();
		return this.#queue.ask(ask);
	}

	// Connecting.

	/** Connects where the application has not said anything yet. */
	#begin(): void {
		if (this.#state === "initialized") this.#start();
	}

	#start(): void {
		const early = this.#notBefore - this.#host.clock.now();
		if (this.#state === "retrying" && early > 0) return this.#after(early, () => this.#start());
		const first = this.#state === "initialized";
		if (!this.#step("connecting")) return;
		if (this.#o.lifecycle !== false) this.#unwatch ??= this.#watch();
		if (this.#state === "connecting") void this.#open(++this.#attempt, first);
	}

	#after(ms: number, run: () => void): void {
		this.#host.clock.clearTimeout(this.#timer);
		this.#timer = this.#host.clock.setTimeout(run, ms);
	}

	/** One attempt. */
	async #open(attempt: number, first: boolean): Promise<void> {
		this.#after(this.#o.connectTimeout ?? 10_000, () => {
			if (this.#link) this.#link.giveUp();
			else this.#lost({ error: noToken() });
		});
		try {
			if (first) await this.#fallback.remember();
			const token = await this.#tokens.get(this.#rejected ? "rejected" : "connect");
			if (attempt === this.#attempt) this.#dial(attempt, token);
		} catch (e) {
			if (attempt !== this.#attempt) return;
			const error = tokenError(e);
			this.#lost({ error, retry: error.code !== 4401 && error.code !== 4403 });
		}
	}

	#dial(attempt: number, token?: string): void {
		const { codec = json, pingInterval = 30_000 } = this.#o;
		const transport = this.#fallback.next();
		if (transport === "websocket" && !hasWebSocket(this.#o)) {
			const advice = "Give the option WebSocket, as of the package ws, or take Node 22.";
			return this.#lost({ error: new RivuletError(4400, "no WebSocket here", { advice }) });
		}
		const options = {
			...this.#o,
			base: this.#base,
			codec,
			token,
			resume: this.#resumes,
			fetch: this.#fetch,
			clock: this.#host.clock,
		};
		this.#link = new Link(
			{ transport, open: opens[transport] as OpenTransport, options, pingInterval },
			{
				up: (link, connected) => this.#up(link, connected),
				push: (link, frame) => this.#push(link, frame),
				down: (_, loss) => attempt === this.#attempt && this.#lost(loss),
				roundTrip: (ms) => this.#events.emit("round_trip", { ms }),
			},
		);
	}

	#up(link: Link, { node, resumed = false }: any): void {
		this.#host.clock.clearTimeout(this.#timer);
		this.#failuresBefore = this.#failures;
		this.#failures = 0;
		this.#upSince = this.#host.clock.now();
		this.#rejected = false;
		this.#resumes = true;
		this.#fallback.worked();
		this.#link = link;
		const routes = new Routes(link, this.#host);
		this.#host.routes = routes;
		const { transport, client } = link;
		this.#step("connected", { transport, client, node, ...(this.#o.session && { resumed }) });
		if (this.#host.routes !== routes) return; // a listener thought otherwise
		routes.add(inOrder(this.#subs.values())); // before what is published
		this.#queue.connected(link);
	}

	#push(link: Link, frame: Frame): void {
		if (frame.expiring)
			void this.#tokens.renew(link, this.#host.clock.now() + frame.expiring.in_ms);
		else if (frame.error) this.#events.emit("error", errorOf(frame.error));
		else this.#host.routes?.push(frame);
	}

	/** There is no connection: what now? */
	#lost(loss: Loss): void {
		const now = this.#host.clock.now();
		const fell = this.transport && this.transport !== "websocket" && now - this.#upSince < stands;
		this.#detach();
		const { error } = loss;
		let retry = loss.retry ?? error.temporary;
		if (loss.token) {
			retry = this.#tokens.renewable && !this.#rejected;
			this.#rejected = true;
		}
		if (!retry) return this.#end(error);
		if (loss.garbled || fell) this.#failures = Math.max(this.#failures, this.#failuresBefore);
		this.#fallback.failed(this.#base, loss.blocked);
		this.#turn++;
		this.#notBefore = Math.max(this.#notBefore, now + error.retryAfterMs);
		const retryIn = this.#host.wait(++this.#failures, this.#notBefore - now);
		const offline = this.#unwatch && isOffline();
		this.#after(offline ? offlinePause + retryIn : retryIn, () => this.#start());
		this.#step("retrying", offline ? { error } : { error, retryIn });
	}

	/** The node, asked why there is no connection, says when to come: not all at that moment. */
	#busy(ms: number): void {
		this.#notBefore = Math.max(this.#notBefore, this.#host.clock.now() + ms);
		if (ms && this.#state === "retrying")
			this.#after(this.#host.wait(this.#failures, ms), () => this.#start());
	}

	#detach(): void {
		this.#attempt++;
		this.#host.clock.clearTimeout(this.#timer);
		this.#tokens.stop();
		this.#link = this.#host.routes = undefined;
		for (const sub of [...this.#subs.values()]) sub.detach();
		this.#queue.lost();
	}

	/** Ends the connection by ourselves. */
	#leave(to: State, error?: RivuletError): void {
		if (!follows(this.#state, to)) return;
		this.#settle();
		this.#link?.close(1000);
		this.#detach();
		this.#step(to, error && { error });
	}

	/** Closes, for good; with an error where it is not the application's wish. */
	#end(error?: RivuletError): void {
		if (this.#state === "closed") return;
		for (const sub of [...this.#subs.values()]) sub.end(error, !error);
		this.#unwatch?.();
		this.#fallback.close();
		this.#leave("closed", error);
		this.#queue.close();
		this.#events.clear();
	}

	#settle(): void {
		for (const sub of this.#subs.values()) sub.settle();
	}

	// The rest.

	#step(state: State, more: Partial<StateChange> = {}): boolean {
		const previous = this.#state;
		if (!follows(previous, state)) return false;
		this.#state = state;
		this.#events.emit("state", { ...more, state, previous });
		return true;
	}

	#watch(): () => void {
		const wake = () => {
			this.#link?.probe();
			if (this.#state === "retrying" && !isOffline()) this.#start();
		};
		return watchPage({
			wake,
			offline: () => {
				this.#link?.probe();
				if (this.#state === "retrying") this.#after(offlinePause, () => this.#start());
			},
			hide: () => this.#settle(),
			freeze: () => {
				this.#frozen ||= follows(this.#state, "disconnected");
				this.#leave("disconnected");
			},
			thaw: () => (this.#frozen ? this.connect() : wake()),
		});
	}

	#caught(error: unknown): void {
		try {
			(this.#o.onError ?? console.error)(error);
		} catch {
			// There is nobody left to tell.
		}
	}

	get #base(): string {
		return this.#bases[this.#turn % this.#bases.length] as string;
	}
}

/** Marks a promise as one that need not be waited for. */
function quiet<T>(promise: Promise<T>): Promise<T> {
	promise.catch(() => {});
	return promise;
}

const closedError = (): RivuletError =>
	new RivuletError(4503, "the client is closed", { temporary: false, advice: "Make a new one." });
