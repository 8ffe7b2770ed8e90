// The client: one connection kept up, and what runs over it.

import { type Backoff, backoff } from "./backoff.js";
import type { Channel } from "./channel.js";
import { Choice } from "./choice.js";
import { systemClock } from "./clock.js";
import { errorOf } from "./codes.js";
import { Link, type Loss, lost } from "./connection.js";
import { Emitter } from "./emitter.js";
import { RivuletError } from "./errors.js";
import { json } from "./json.js";
import { isOffline, watchPage } from "./lifecycle.js";
import { follow, type Step } from "./machine.js";
import { toHistory, toPresencePage } from "./message.js";
import { canonical } from "./names.js";
import { PublishQueue } from "./queue.js";
import { Requests } from "./requests.js";
import { inOrder, Routes } from "./routes.js";
import { validate } from "./subscribe.js";
import { type Host, Sub, type Subscription } from "./subscription.js";
import { Tokens, tokenError } from "./token.js";
import { opens } from "./transports.js";
import type {
	ClientOptions,
	Clock,
	Frame,
	Handlers,
	HistoryOptions,
	Message,
	OpenTransport,
	PresenceOptions,
	State,
	StateChange,
	SubscribeOptions,
	TokenReason,
} from "./types.js";

/** What `Client.on` tells, by name. */
export interface ClientEvents {
	/** A change of state. */
	state: StateChange;
	/** Milliseconds from a ping to its pong. */
	round_trip: { readonly ms: number };
	/** A subscription has lost messages for good. */
	gap: { readonly channel: string; readonly reason: string };
	/** An error that no promise and no iteration tells of. */
	error: RivuletError;
	/** A message that has come, before the application takes it. */
	message: Message;
}

/** A client of one Rivulet cluster. */
export class Client {
	readonly #o: ClientOptions;
	readonly #bases: string[];
	readonly #clock: Clock;
	readonly #wait: Backoff;
	readonly #subs = new Map<string, Sub>();
	readonly #events: Emitter<ClientEvents>;
	readonly #queue: PublishQueue;
	readonly #requests: Requests;
	readonly #choice: Choice;
	readonly #tokens: Tokens;
	readonly #host: Host;
	#state: State = "initialized";
	/** What is being opened, or is up. */
	#link: Link | undefined;
	/** While connected. */
	#routes: Routes | undefined;
	/** Attempts in a row that failed, and how many before the last that did not. */
	#failures = 0;
	#failuresBefore = 0;
	/** Counts attempts, so that what comes late of an earlier one is told. */
	#attempt = 0;
	/** Counts through the nodes. */
	#turn = 0;
	#retry: unknown;
	/** Before then no attempt is made: the node said so. */
	#notBefore = 0;
	#renewal: unknown;
	#rejected = false;
	#resumes = false;
	#frozen = false;
	#unwatch: (() => void) | undefined;

	/**
	 * Prepares a client of the node at `url`: http(s) or ws(s), a path before `/v1` is kept. It
	 * connects when it is first used. Throws 4400 where an option cannot be.
	 */
	constructor(url: string, options: ClientOptions = {}) {
		const o = options;
		this.#o = o;
		this.#bases = [url, ...(o.urls ?? [])].map(baseOf);
		this.#clock = o.clock ?? systemClock();
		this.#wait = backoff(o.backoff?.base, o.backoff?.cap, o.random);
		this.#events = new Emitter((e) => this.#caught(e));
		const [clock, wait, replyTimeout] = [this.#clock, this.#wait, o.replyTimeout ?? 15_000];
		const { messages = 100, bytes = 1 << 20 } = o.queue ?? {};
		this.#queue = new PublishQueue({ clock, wait, replyTimeout, messages, bytes });
		this.#requests = new Requests(clock, wait, replyTimeout);
		this.#tokens = new Tokens(o.token, clock, this.#connectTimeout);
		const transports = (o.transports ?? ["websocket", "sse", "poll"]).filter((t) => opens[t]);
		if (transports.length === 0) throw new RivuletError(4400, "no transport");
		this.#choice = new Choice({ transports, storage: o.storage, fetch: this.#fetch, clock });
		this.#host = this.#makeHost();
	}

	/** Where the connection is; see `on("state")`. */
	get state(): State {
		return this.#state;
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
		this.#leave("disconnect");
	}

	/** Ends the client, all subscriptions, and what waits. Nothing of it is left. */
	close(): void {
		this.#end();
	}

	/** Resolves when connected, which it sets about; rejects when closed or aborted. */
	ready(signal?: AbortSignal): Promise<void> {
		this.#begin();
		return new Promise((resolve, reject) => {
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
	}

	/** Milliseconds from here to the node and back, measured now. Rejects if not connected. */
	roundTrip(): Promise<number> {
		const link = this.#routes?.link;
		if (!link) return Promise.reject(lost());
		return new Promise((resolve, reject) => {
			link.ping((ms) => (ms === undefined ? reject(lost()) : resolve(ms)));
		});
	}

	/** A channel, or a pattern as in `orders:>`, by name; `x` is `default:x`. */
	channel<T = unknown>(name: string): Channel<T> {
		const channel = canonical(name);
		return {
			name: channel,
			publish: async (data, options = {}) => {
				this.#begin();
				return await this.#queue.publish(channel, data, options);
			},
			history: async (options = {}) =>
				toHistory(await this.#ask("history", historyOf(channel, options))),
			presence: async (options: PresenceOptions = {}) =>
				toPresencePage(await this.#ask("presence", { channel, ...options })),
			subscribe: (options = {}, handlers) => this.#subscribe(channel, options, handlers),
		};
	}

	#subscribe<T>(channel: string, o: SubscribeOptions, handlers?: Handlers<T>): Subscription<T> {
		if (this.#state === "closed") throw closedError();
		if (this.#subs.has(channel)) throw new RivuletError(4409, `subscribed to ${channel} already`);
		validate(channel, o, this.#o.session !== undefined);
		const sub = new Sub<T>(this.#host, channel, o, handlers);
		this.#subs.set(channel, sub);
		this.#begin();
		this.#routes?.add([sub]);
		return sub;
	}

	async #ask(name: string, command: object): Promise<any> {
		if (this.#state === "closed") throw closedError();
		this.#begin();
		const reply = await this.#requests.ask({ [name]: command });
		if (!reply[name]) throw new RivuletError(4500, "a reply of another kind");
		return reply[name];
	}

	// Connecting.

	/** Connects where the application has not said anything yet. */
	#begin(): void {
		if (this.#state === "initialized") this.#start();
	}

	#start(): void {
		this.#clock.clearTimeout(this.#retry);
		const early = this.#notBefore - this.#clock.now();
		if (this.#state === "retrying" && early > 0) {
			this.#retry = this.#clock.setTimeout(() => this.#start(), early);
			return;
		}
		const first = this.#state === "initialized";
		if (!this.#step("connect")) return;
		if (this.#o.lifecycle !== false) this.#unwatch ??= this.#watch();
		if (this.#state === "connecting") void this.#open(++this.#attempt, first);
	}

	/** One attempt. */
	async #open(attempt: number, first: boolean): Promise<void> {
		try {
			if (first) await this.#choice.remember();
			const reason: TokenReason = this.#rejected ? "rejected" : "connect";
			const token = await this.#tokens.get(reason);
			if (attempt === this.#attempt) this.#dial(attempt, token);
		} catch (e) {
			if (attempt !== this.#attempt) return;
			const error = tokenError(e);
			this.#lost({ error, retry: error.code !== 4401 && error.code !== 4403 });
		}
	}

	#dial(attempt: number, token?: string): void {
		const { name, session, codec = json, WebSocket } = this.#o;
		const transport = this.#choice.next();
		const options = {
			base: this.#base,
			codec,
			resume: this.#resumes,
			fetch: this.#fetch,
			clock: this.#clock,
			...(token !== undefined && { token }),
			...(name !== undefined && { name }),
			...(session !== undefined && { session }),
			...(WebSocket && { WebSocket }),
		};
		const open = opens[transport] as OpenTransport;
		const { connectTimeout, pingInterval } = this.#timing;
		this.#link = new Link(
			{ transport, open, options, connectTimeout, pingInterval },
			{
				up: (link, connected) => this.#up(link, connected),
				push: (link, frame) => this.#push(link, frame),
				down: (_, loss) => attempt === this.#attempt && this.#lost(loss),
				roundTrip: (ms) => this.#events.emit("round_trip", { ms }),
			},
		);
	}

	#up(link: Link, connected: any): void {
		this.#failuresBefore = this.#failures;
		this.#failures = 0;
		this.#rejected = false;
		this.#resumes = true;
		this.#choice.worked();
		this.#link = link;
		const routes = new Routes(link, this.#subs);
		this.#routes = routes;
		const { transport, client } = link;
		const resumed = this.#o.session !== undefined && { resumed: Boolean(connected.resumed) };
		this.#step("connected", { transport, client, node: connected.node, ...resumed });
		if (this.#routes !== routes) return; // a listener thought otherwise
		routes.add(inOrder(this.#subs.values())); // before what is published
		this.#queue.connected(link);
		this.#requests.connected(link);
	}

	#push(link: Link, frame: Frame): void {
		if (frame.expiring) this.#renew(link, this.#clock.now() + frame.expiring.in_ms, 1);
		else if (frame.error) this.#events.emit("error", errorOf(frame.error));
		else this.#routes?.push(frame);
	}

	/** There is no connection: what now? */
	#lost(loss: Loss): void {
		this.#detach();
		let { error, retry } = loss;
		if (loss.token) {
			retry = this.#tokens.renewable && !this.#rejected;
			this.#rejected = true;
			if (!retry) error = refused(error);
		}
		if (!retry) return this.#end(error);
		if (loss.garbled) this.#failures = Math.max(this.#failures, this.#failuresBefore);
		this.#choice.failed(this.#base, loss.blocked);
		this.#turn++;
		this.#notBefore = this.#clock.now() + error.retryAfterMs;
		const retryIn = this.#wait(++this.#failures, error.retryAfterMs);
		if (isOffline() && this.#unwatch) return void this.#step("lost", { error });
		this.#retry = this.#clock.setTimeout(() => this.#start(), retryIn);
		this.#step("lost", { error, retryIn });
	}

	#detach(): void {
		this.#attempt++;
		this.#clock.clearTimeout(this.#retry);
		this.#clock.clearTimeout(this.#renewal);
		this.#link = undefined;
		this.#routes = undefined;
		for (const sub of [...this.#subs.values()]) sub.detach();
		this.#queue.lost();
	}

	/** Ends the connection by ourselves. */
	#leave(step: Step, error?: RivuletError): void {
		if (!follow(this.#state, step)) return;
		this.#settle();
		const link = this.#link;
		this.#detach();
		link?.close(1000);
		this.#step(step, error && { error });
	}

	/** Closes, for good; with an error where it is not the application's wish. */
	#end(error?: RivuletError): void {
		if (this.#state === "closed") return;
		this.#settle();
		for (const sub of [...this.#subs.values()]) sub.end(error, !error);
		this.#unwatch?.();
		this.#choice.close();
		this.#tokens.close();
		if (error) this.#events.emit("error", error);
		this.#leave("close", error);
		this.#queue.close();
		this.#requests.close();
		this.#events.clear();
	}

	#settle(): void {
		for (const sub of this.#subs.values()) sub.settle();
	}

	/** Gives the node a fresh token; where that fails to the end, it closes with 4006. */
	async #renew(link: Link, until: number, attempt: number): Promise<void> {
		if (!this.#tokens.renewable) return;
		const failed = (error: RivuletError) => {
			if (link.isLost) return;
			this.#events.emit("error", error);
			const final = [4401, 4403].includes(error.code) || this.#clock.now() >= until;
			if (final) return;
			const wait = this.#wait(attempt, error.retryAfterMs);
			this.#renewal = this.#clock.setTimeout(() => this.#renew(link, until, attempt + 1), wait);
		};
		try {
			const token = await this.#tokens.get("expiring");
			link.call({ refresh: { token } }, (_, error) => error && failed(error));
		} catch (e) {
			failed(tokenError(e));
		}
	}

	// The rest.

	#step(step: Step, more: Partial<StateChange> = {}): boolean {
		const previous = this.#state;
		const state = follow(previous, step);
		if (!state) return false;
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
				if (this.#state === "retrying") this.#clock.clearTimeout(this.#retry);
			},
			hide: () => this.#settle(),
			freeze: () => {
				this.#frozen ||= follow(this.#state, "disconnect") !== undefined;
				this.#leave("disconnect");
			},
			thaw: () => {
				if (this.#frozen) this.connect();
				else wake();
			},
		});
	}

	#makeHost(): Host {
		const client = this;
		return {
			clock: this.#clock,
			wait: this.#wait,
			storage: this.#o.storage,
			subs: this.#subs,
			get routes() {
				return client.#routes;
			},
			remove: (sub) => {
				if (this.#subs.get(sub.channel) === sub) this.#subs.delete(sub.channel);
			},
			caught: (e) => this.#caught(e),
			tell: (name: keyof ClientEvents, event: any) => this.#events.emit(name, event),
		};
	}

	#caught(error: unknown): void {
		try {
			(this.#o.onError ?? console.error)(error);
		} catch {
			// There is nobody left to tell.
		}
	}

	get #connectTimeout(): number {
		return this.#o.connectTimeout ?? 10_000;
	}

	get #timing(): { connectTimeout: number; pingInterval: number } {
		return { connectTimeout: this.#connectTimeout, pingInterval: this.#o.pingInterval ?? 30_000 };
	}

	get #base(): string {
		return this.#bases[this.#turn % this.#bases.length] as string;
	}

	get #fetch(): typeof fetch {
		return this.#o.fetch ?? ((...args) => globalThis.fetch(...args));
	}
}

const closedError = (): RivuletError => new RivuletError(4503, "the client is closed");

/** http or https, without a slash at the end. */
function baseOf(url: string): string {
	const match = /^(?:http|ws)(s?):\/\/([^/?#@]+(?:\/[^?#]*)?)$/.exec(url);
	if (!match) {
		throw new RivuletError(4400, `url ${url}: must be like https://host/path`, { field: "url" });
	}
	return `http${match[1]}://${match[2]}`.replace(/\/+$/, "");
}

/** The end of a client whose token does not do, and which has no other. */
function refused(error: RivuletError): RivuletError {
	return new RivuletError(error.code, error.message, {
		temporary: false,
		cause: error,
		advice: "Get a fresh token from your back end; with a function as token the client asks.",
	});
}

function historyOf(channel: string, { since, ...rest }: HistoryOptions): object {
	return { channel, ...rest, since: since === undefined ? undefined : Number(since) };
}
