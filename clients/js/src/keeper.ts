// One connection kept up: attempts, waits, and what a page and a token have to do with that.

import { type Backoff, backoff } from "./backoff.js";
import type { Choice, ChoiceHost } from "./choice.js";
import { systemClock } from "./clock.js";
import { errorOf } from "./codes.js";
import { Link, type LinkEvents, type Loss } from "./connection.js";
import { type ClientEvents, Emitter } from "./emitter.js";
import { RivuletError } from "./errors.js";
import type { Hold } from "./hold.js";
import type { Host } from "./host.js";
import { json } from "./json.js";
import { chunks, loadFor, notLoaded } from "./lazy.js";
import { follows } from "./machine.js";
import { isOffline, offlinePause } from "./network.js";
import { baseOf, hasWebSocket, prefixOf, transportsOf } from "./options.js";
import type { Had } from "./overlap.js";
import { Queue } from "./queue.js";
import { inOrder, Routes } from "./routes.js";
import type { Sub } from "./subscription.js";
import { clean, noToken, type TokenHost, tokenError } from "./token.js";
import type {
	ClientOptions,
	Clock,
	Frame,
	PositionStorage,
	State,
	StateChange,
	TokenReason,
	TransportName,
} from "./types.js";

/** Milliseconds that a connection over HTTP must stand to be one: its streams begin after it. */
const stands = 10_000;

/** The connection of a client, and what runs over it. */
export class Keeper
	extends Emitter<ClientEvents>
	implements Host, ChoiceHost, TokenHost, LinkEvents
{
	state: State = "initialized";
	/** What is being opened, or is up. */
	link: Link | undefined;
	/** By the page, not by the application. */
	frozen = false;
	hint = "";
	/** Why it is closed. */
	why: RivuletError | undefined;
	readonly clock: Clock;
	readonly wait: Backoff;
	readonly storage: PositionStorage | undefined;
	readonly prefix: string;
	readonly subs = new Map<string, Sub>();
	readonly holds = new Set<Hold>();
	had: Had | undefined;
	apart = false;
	routes: Routes | undefined;
	readonly queue: Queue;

	readonly options: ClientOptions;
	readonly #bases: string[];
	/** Until the token is renewed again; see renew.ts. */
	renewal: unknown;
	readonly transports: readonly TransportName[];
	readonly fetch: typeof fetch | undefined;
	/** Of the transport, once there was a reason for another than the first. */
	#choice: Choice | undefined;
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
	#unwatch: (() => void) | undefined;

	constructor(url: string, o: ClientOptions) {
		super(o.onError);
		this.options = o;
		this.#bases = [url, ...(o.urls ?? [])].map(baseOf);
		this.storage = o.storage;
		this.prefix = prefixOf(this.#base);
		this.clock = o.clock ?? systemClock();
		this.wait = backoff(o.backoff?.base, o.backoff?.cap, o.random);
		this.queue = new Queue(this, o.replyTimeout, o.queue);
		this.transports = transportsOf(o);
		this.fetch = o.fetch;
	}

	/** Connects, if it is not on its way. */
	connect(): void {
		this.frozen = false;
		this.start();
	}

	/** Connects where the application has not said anything yet. */
	begin(): void {
		if (this.state === "initialized") this.start();
	}

	start(): void {
		const early = this.#notBefore - this.clock.now();
		if (this.state === "retrying" && early > 0) return this.startAfter(early);
		const first = this.state === "initialized";
		// A listener may think otherwise.
		if (!this.#step("connecting") || this.state !== "connecting") return;
		void this.#open(++this.#attempt, first);
	}

	/** Begins an attempt after so many milliseconds, in place of any other time. */
	startAfter(ms: number): void {
		this.#after(ms, () => this.start());
	}

	#after(ms: number, run: () => void): void {
		this.clock.clearTimeout(this.#timer);
		this.#timer = this.clock.setTimeout(run, ms);
	}

	/** One attempt. */
	async #open(attempt: number, first: boolean): Promise<void> {
		this.#after(this.options.connectTimeout ?? 10_000, () => {
			if (this.link) this.link.giveUp();
			else this.#lost({ error: noToken() });
		});
		try {
			if (first) await this.#remember();
			const token = await this.token(this.#rejected ? "rejected" : "connect");
			if (attempt === this.#attempt) this.#dial(token);
		} catch (e) {
			const error = e as RivuletError;
			if (attempt === this.#attempt)
				this.#lost({ error, retry: error.code !== 4401 && error.code !== 4403 });
		}
	}

	/** A function gives another token. */
	get #renewable(): boolean {
		return typeof this.options.token === "function";
	}

	/** Throws a RivuletError. */
	async token(reason: TokenReason): Promise<string | undefined> {
		const t = this.options.token;
		if (t == null) return undefined;
		try {
			return clean(typeof t === "function" ? await t(reason) : t);
		} catch (e) {
			throw tokenError(e);
		}
	}

	/** Takes up which transport worked on an earlier page. */
	async #remember(): Promise<void> {
		try {
			if (!this.transports[1] || !(await this.storage?.getItem(`${this.prefix}transport`))) return;
		} catch {
			return; // a storage that fails stops nothing
		}
		await this.#choose((choice) => choice.remember());
	}

	/** Does something with the choice; where it cannot be loaded, the next failure tries again. */
	async #choose(use: (choice: Choice) => unknown): Promise<void> {
		try {
			const { Choice } = await chunks.choice();
			if (this.state === "closed") return;
			this.#choice ??= new Choice(this);
			await use(this.#choice);
		} catch (cause) {
			this.tell("error", notLoaded(cause));
		}
	}

	#dial(token?: string): void {
		const transport = this.#choice?.next() ?? (this.transports[0] as TransportName);
		if (transport === "websocket" && !hasWebSocket(this.options)) {
			const advice = "Give the option WebSocket, as of ws, or take Node 22.";
			return this.#lost({ error: new RivuletError(4400, "no WebSocket here", { advice }) });
		}
		const options = {
			codec: json,
			...this.options,
			base: this.#base,
			token,
			resume: this.#resumes,
			clock: this.clock,
		};
		this.link = new Link(transport, options, this);
	}

	/** @internal */
	up(link: Link, { node, resumed = false, ping_interval: seconds }: any): void {
		this.clock.clearTimeout(this.#timer);
		this.#failuresBefore = this.#failures;
		this.#failures = 0;
		this.#upSince = this.clock.now();
		this.#rejected = false;
		this.#resumes = true;
		this.#choice?.worked();
		const routes = new Routes(link, this);
		this.routes = routes;
		const { transport, client } = link;
		this.#step("connected", { transport, client, node, ...(this.options.session && { resumed }) });
		if (this.routes !== routes) return; // a listener thought otherwise
		routes.add(inOrder(this.subs.values())); // before what is published
		this.queue.link = link;
		void loadFor(this, link, ({ Pulse, strange, watch }) => {
			const error = strange(this);
			if (error) return this.end(error);
			if (this.options.lifecycle !== false) this.#unwatch ??= watch(this);
			link.pulse = new Pulse(link, this.clock, this.options.pingInterval, seconds, (ms) =>
				this.tell("round_trip", { ms }),
			);
			this.queue.pump();
		});
	}

	/** @internal */
	push(link: Link, frame: Frame): void {
		if (frame.expiring) this.#renew(link, this.clock.now() + frame.expiring.in_ms);
		else if (frame.error) this.tell("error", errorOf(frame.error));
		else this.routes?.push(frame);
	}

	#renew(link: Link, until: number): void {
		if (this.#renewable) void loadFor(this, link, (all) => all.renew(this, link, until));
	}

	/** @internal */
	down(link: Link, loss: Loss): void {
		if (link === this.link) this.#lost(loss);
	}

	/** There is no connection: what now? */
	#lost({ error, retry = error.temporary, token, garbled, blocked }: Loss): void {
		const now = this.clock.now();
		const fell =
			this.state === "connected" &&
			this.link?.transport !== "websocket" &&
			now - this.#upSince < stands;
		this.#detach();
		if (token) {
			retry = this.#renewable && !this.#rejected;
			this.#rejected = true;
		}
		if (!retry) return this.end(error);
		if (garbled || fell) this.#failures = Math.max(this.#failures, this.#failuresBefore);
		const base = this.#base;
		// Not loaded without a network: browsers remember what they could not load.
		if (blocked && this.transports[1] && !isOffline())
			void this.#choose((choice) => choice.failed(base, blocked));
		else this.#choice?.failed(base);
		this.#turn++;
		this.#notBefore = Math.max(this.#notBefore, now + error.retryAfterMs);
		const retryIn = this.wait(++this.#failures, this.#notBefore - now);
		const offline = this.#unwatch && isOffline(); // it is heard of when that is over
		this.startAfter(offline ? offlinePause + retryIn : retryIn);
		this.#step("retrying", offline ? { error } : { error, retryIn });
	}

	/** The node, asked why there is no connection, says when to come: not all at that moment. */
	busy(ms: number): void {
		this.#notBefore = Math.max(this.#notBefore, this.clock.now() + ms);
		if (ms && this.state === "retrying") this.startAfter(this.wait(this.#failures, ms));
	}

	#detach(): void {
		this.#attempt++;
		this.clock.clearTimeout(this.#timer);
		this.clock.clearTimeout(this.renewal);
		this.link = this.routes = undefined;
		for (const sub of [...this.subs.values()]) sub.detach();
		this.queue.lost();
	}

	/** Ends the connection by ourselves. */
	leave(to: State, error?: RivuletError): void {
		if (!follows(this.state, to)) return;
		this.settleAll();
		this.link?.close();
		this.#detach();
		this.#step(to, error && { error });
	}

	/** Closes, for good; with an error where it is not the application's wish. */
	end(error?: RivuletError): void {
		if (this.state === "closed") return;
		const advice = "Make a new one.";
		this.why =
			error ?? new RivuletError(4503, "the client is closed", { temporary: false, advice });
		for (const sub of [...this.subs.values()]) sub.end(error, !error);
		this.#unwatch?.();
		this.#choice?.close();
		this.leave("closed", error);
		this.queue.close(this.why);
		if (error) this.tell("error", error);
		this.clear();
	}

	/** Saves and acknowledges what was handled. */
	settleAll(): void {
		for (const sub of this.subs.values()) sub.settle();
	}

	#step(state: State, more: Partial<StateChange> = {}): boolean {
		const previous = this.state;
		if (!follows(previous, state)) return false;
		this.state = state;
		this.tell("state", { ...more, state, previous });
		return true;
	}

	get #base(): string {
		return this.#bases[this.#turn % this.#bases.length] as string;
	}
}
