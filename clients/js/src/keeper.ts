// One connection kept up: attempts, waits, and what a page and a token have to do with that.

import { errorOf } from "./codes.js";
import { Link, type Loss } from "./connection.js";
import type { ClientEvents, Emitter } from "./emitter.js";
import { RivuletError } from "./errors.js";
import { Fallback } from "./fallback.js";
import type { Host } from "./host.js";
import { json } from "./json.js";
import { loadFor } from "./lazy.js";
import { isOffline, watchPage } from "./lifecycle.js";
import { follows } from "./machine.js";
import { hasWebSocket, transportsOf } from "./options.js";
import type { Queue } from "./queue.js";
import { inOrder, Routes } from "./routes.js";
import { noToken, Tokens, tokenError } from "./token.js";
import { opens } from "./transports.js";
import type { ClientOptions, Frame, OpenTransport, State, StateChange } from "./types.js";

/** Milliseconds that a connection over HTTP must stand to be one: its streams begin after it. */
const stands = 10_000;

/** Milliseconds between attempts where the browser says that there is no network: it may be wrong. */
const offlinePause = 30_000;

/** The connection of a client. */
export class Keeper {
	state: State = "initialized";
	/** What is being opened, or is up. */
	link: Link | undefined;
	/** By the page, not by the application. */
	frozen = false;
	readonly #o: ClientOptions & { fetch: typeof fetch };
	readonly #bases: string[];
	readonly #host: Host;
	readonly #events: Emitter<ClientEvents>;
	readonly #queue: Queue;
	readonly #tokens: Tokens;
	readonly #fallback: Fallback;
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

	constructor(
		bases: string[],
		options: ClientOptions & { fetch: typeof fetch },
		host: Host,
		events: Emitter<ClientEvents>,
		queue: Queue,
	) {
		this.#o = options;
		this.#bases = bases;
		this.#host = host;
		this.#events = events;
		this.#queue = queue;
		this.#tokens = new Tokens(options.token);
		this.#fallback = new Fallback({
			transports: transportsOf(options),
			storage: host.storage,
			fetch: options.fetch,
			clock: host.clock,
			busy: (ms) => this.#busy(ms),
			failed: (e) => events.emit("error", e),
		});
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
		const early = this.#notBefore - this.#host.clock.now();
		if (this.state === "retrying" && early > 0) return this.#after(early, () => this.start());
		const first = this.state === "initialized";
		// A listener may think otherwise.
		if (!this.#step("connecting") || this.state !== "connecting") return;
		if (this.#o.lifecycle !== false) this.#unwatch ??= this.#watch();
		void this.#open(++this.#attempt, first);
	}

	#after(ms: number, run: () => void): void {
		this.#host.clock.clearTimeout(this.#timer);
		this.#timer = this.#host.clock.setTimeout(run, ms);
	}

	/** One attempt. */
	async #open(attempt: number, first: boolean): Promise<void> {
		this.#after(this.#o.connectTimeout ?? 10_000, () => {
			if (this.link) this.link.giveUp();
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
		const { codec = json } = this.#o;
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
			clock: this.#host.clock,
		};
		this.link = new Link(
			{ transport, open: opens[transport] as OpenTransport, options },
			{
				up: (link, connected) => this.#up(link, connected),
				push: (link, frame) => this.#push(link, frame),
				down: (_, loss) => attempt === this.#attempt && this.#lost(loss),
			},
		);
	}

	#up(link: Link, { node, resumed = false, ping_interval: seconds }: any): void {
		this.#host.clock.clearTimeout(this.#timer);
		this.#failuresBefore = this.#failures;
		this.#failures = 0;
		this.#upSince = this.#host.clock.now();
		this.#rejected = false;
		this.#resumes = true;
		this.#fallback.worked();
		this.link = link;
		const routes = new Routes(link, this.#host);
		this.#host.routes = routes;
		const { transport, client } = link;
		this.#step("connected", { transport, client, node, ...(this.#o.session && { resumed }) });
		if (this.#host.routes !== routes) return; // a listener thought otherwise
		routes.add(inOrder(this.#host.subs.values())); // before what is published
		this.#queue.link = link;
		void loadFor(this.#host, link, ({ Pulse, strange }) => {
			const error = strange(this.#o);
			if (error) return this.end(error);
			const { pingInterval = 30_000 } = this.#o;
			const roundTrip = (ms: number) => this.#events.emit("round_trip", { ms });
			link.pulse = new Pulse(link, this.#host.clock, pingInterval, seconds, roundTrip);
			this.#queue.pump();
		});
	}

	#push(link: Link, frame: Frame): void {
		if (frame.expiring) this.#renew(link, this.#host.clock.now() + frame.expiring.in_ms);
		else if (frame.error) this.#events.emit("error", errorOf(frame.error));
		else this.#host.routes?.push(frame);
	}

	#renew(link: Link, until: number): void {
		if (this.#tokens.renewable)
			void loadFor(this.#host, link, (all) => all.renew(this.#tokens, this.#host, link, until));
	}

	/** There is no connection: what now? */
	#lost(loss: Loss): void {
		const now = this.#host.clock.now();
		const fell =
			this.state === "connected" &&
			this.link?.transport !== "websocket" &&
			now - this.#upSince < stands;
		this.#detach();
		const { error } = loss;
		let retry = loss.retry ?? error.temporary;
		if (loss.token) {
			retry = this.#tokens.renewable && !this.#rejected;
			this.#rejected = true;
		}
		if (!retry) return this.end(error);
		if (loss.garbled || fell) this.#failures = Math.max(this.#failures, this.#failuresBefore);
		this.#fallback.failed(this.#base, loss.blocked);
		this.#turn++;
		this.#notBefore = Math.max(this.#notBefore, now + error.retryAfterMs);
		const retryIn = this.#host.wait(++this.#failures, this.#notBefore - now);
		const offline = this.#unwatch && isOffline();
		this.#after(offline ? offlinePause + retryIn : retryIn, () => this.start());
		this.#step("retrying", offline ? { error } : { error, retryIn });
	}

	/** The node, asked why there is no connection, says when to come: not all at that moment. */
	#busy(ms: number): void {
		this.#notBefore = Math.max(this.#notBefore, this.#host.clock.now() + ms);
		if (ms && this.state === "retrying")
			this.#after(this.#host.wait(this.#failures, ms), () => this.start());
	}

	#detach(): void {
		this.#attempt++;
		this.#host.clock.clearTimeout(this.#timer);
		this.#host.clock.clearTimeout(this.#tokens.timer);
		this.link = this.#host.routes = undefined;
		for (const sub of [...this.#host.subs.values()]) sub.detach();
		this.#queue.lost();
	}

	/** Ends the connection by ourselves. */
	leave(to: State, error?: RivuletError): void {
		if (!follows(this.state, to)) return;
		this.#settle();
		this.link?.close(1000);
		this.#detach();
		this.#step(to, error && { error });
	}

	/** Closes, for good; with an error where it is not the application's wish. */
	end(error?: RivuletError): void {
		if (this.state === "closed") return;
		for (const sub of [...this.#host.subs.values()]) sub.end(error, !error);
		this.#unwatch?.();
		this.#fallback.close();
		this.leave("closed", error);
		this.#queue.close();
		this.#events.clear();
	}

	#settle(): void {
		for (const sub of this.#host.subs.values()) sub.settle();
	}

	#step(state: State, more: Partial<StateChange> = {}): boolean {
		const previous = this.state;
		if (!follows(previous, state)) return false;
		this.state = state;
		this.#events.emit("state", { ...more, state, previous });
		return true;
	}

	#watch(): () => void {
		const wake = () => {
			this.link?.pulse?.probe();
			if (this.state === "retrying" && !isOffline()) this.start();
		};
		return watchPage({
			wake,
			offline: () => {
				this.link?.pulse?.probe();
				if (this.state === "retrying") this.#after(offlinePause, () => this.start());
			},
			hide: () => this.#settle(),
			freeze: () => {
				this.frozen ||= follows(this.state, "disconnected");
				this.leave("disconnected");
			},
			thaw: () => (this.frozen ? this.connect() : wake()),
		});
	}

	get #base(): string {
		return this.#bases[this.#turn % this.#bases.length] as string;
	}
}
