// A subscription: its side of the wire, and what an application holds of it.

import type { Backoff } from "./backoff.js";
import { errorOf, resubscribes } from "./codes.js";
import { Places, Seen } from "./cursor.js";
import { Acks } from "./durable.js";
import { RivuletError } from "./errors.js";
import { Hold } from "./hold.js";
import { type Handled, Inbox } from "./inbox.js";
import { toFields } from "./message.js";
import { isPattern } from "./names.js";
import { inherit, mayLack } from "./overlap.js";
import type { Routes, Subs } from "./routes.js";
import { Shelf } from "./storage.js";
import { noToken, tokenError } from "./token.js";
import type {
	Clock,
	Frame,
	Handlers,
	Message,
	PositionStorage,
	SubscribeOptions,
	Update,
} from "./types.js";

/** Where a subscription is: `paused` while the application has no room for more. */
export type SubscriptionState = "idle" | "subscribing" | "live" | "paused" | "ended";

/**
 * A cursor on a channel, or on the channels of a pattern. Iterate over it for its messages, in
 * one place at a time; leaving the loop leaves it as it is, and it may be iterated again.
 */
export interface Subscription<T = unknown> extends AsyncIterable<Message<T>> {
	/** The full name of the channel or pattern. */
	readonly channel: string;
	readonly state: SubscriptionState;
	/** Settles when it has begun for the first time, or cannot. Need not be heeded. */
	readonly ready: Promise<void>;
	/** Where to resume after what the application has handled: asked for the next after it. */
	readonly position: string | undefined;
	/** The same for a pattern: one of each stream. */
	readonly positions: readonly string[];
	/** Everything in order, `unsubscribed` last. */
	updates(): AsyncIterable<Update<T>>;
	/**
	 * Ends it. What waits is dropped, and iterations end. Resolves when the node has let go. A
	 * durable session forgets the channel; to keep its place, close the client instead.
	 */
	unsubscribe(): Promise<void>;
}

/** @internal What a subscription needs of its client. */
export interface Host {
	readonly clock: Clock;
	readonly wait: Backoff;
	readonly storage: PositionStorage | undefined;
	readonly subs: Subs;
	readonly holds: Set<Hold>;
	/** On how many links a pattern has begun. */
	links: number;
	/** Over HTTP each subscription has a stream of its own, and all of its messages. */
	apart: boolean;
	/** Where the node is told, while connected. */
	routes: Routes | undefined;
	remove(sub: Sub): unknown;
	/** Errors of callbacks. */
	caught(error: unknown): void;
	/** For those that watch the client. */
	tell(event: "gap", gap: { channel: string; reason: string }): void;
	tell(event: "error", error: RivuletError): void;
	tell(event: "message", message: Message<any>): void;
}

/** How long what was handled may wait to be saved and acknowledged, and how many of them. */
const settleAfter = 100;
/** How long the application may take for a token: patterns wait meanwhile. */
const tokenTimeout = 10_000;
/** How many times its bound a durable queue takes: see `#pause`. */
const durableRoom = 16;
/** Beyond this many times its bound a queue does not wait for the application's next turn. */
const burst = 4;

/** How many of those that were ended a subscription knows. */
const mostAfter = 16;

const advice = "Load what is missing from where you keep it, then go on from here.";

/** @internal */
export class Sub<T = any> implements Subscription<T> {
	readonly channel: string;
	readonly pattern: boolean;
	readonly ready: Promise<void>;
	readonly options: SubscribeOptions;
	/** Where to go on from. */
	readonly received: Places;
	/** Where it began on this link; by `Routes`. */
	here: Places | undefined;
	/** Where it has begun for the first time, or after a gap. */
	since: Places | undefined;
	/** It was ended, and the application has not had all that came. */
	missed = false;
	/** Those that were ended after which it went on: what they had does not come again. */
	readonly after: Sub[] = [];
	state: SubscriptionState = "idle";
	/** In `paused`: the node has confirmed. */
	released = false;

	readonly #host: Host;
	readonly #limit: number;
	readonly #seen = new Seen();
	readonly #inbox: Inbox;
	readonly #acks: Acks | undefined;
	readonly #shelf: Shelf | undefined;
	readonly #handled: boolean;
	/** In `subscribing` and `live`: where. */
	#at: Routes | undefined;
	#hold: Hold | undefined;
	/** Where messages of a durable subscription were let go of. */
	#behind: Routes | undefined;
	#loading = false;
	#stored: string[] = [];
	#began = false;
	/** Of a pattern, the last link on which it began, and since which it has on each. */
	#nth = 0;
	#streak = 0;
	/** Those that overlap were let go of, so that it gets what it asks for. */
	#cleared = false;
	/** What was received, and what was handled, is all that a resume needs. */
	#whole = false;
	#wholeHandled = false;
	#request = 0;
	/** For a token: the node knows nothing of it yet. */
	#asking = false;
	#failures = 0;
	#unsettled = 0;
	#retry: unknown;
	#settle: unknown;
	#check: unknown;
	#error: RivuletError | undefined;
	#isReady: (error?: RivuletError) => void = () => {};

	constructor(host: Host, channel: string, options: SubscribeOptions, handlers?: Handlers<T>) {
		this.#host = host;
		this.channel = channel;
		this.pattern = isPattern(channel);
		this.options = options;
		this.#limit = Math.max(options.buffer ?? 256, 1) * (options.durable ? durableRoom : 1);
		this.received = new Places(this.pattern);
		this.#inbox = new Inbox(
			this.pattern,
			(item) => this.#onHandled(item),
			() => this.#onTaken(),
		);
		this.#acks = options.durable ? new Acks() : undefined;
		this.#shelf = shelf(host, channel, options);
		this.#inbox.handled.set([options.position ?? "", ...(options.positions ?? [])]);
		this.ready = new Promise((resolve, reject) => {
			this.#isReady = (error) => (error ? reject(error) : resolve());
		});
		this.ready.catch(() => {}); // it need not be heeded
		this.#handled = handlers !== undefined;
		if (handlers) void this.#handle(handlers);
		if (this.#shelf) void this.#load(this.#shelf);
	}

	get positions(): readonly string[] {
		return this.#inbox.handled.list();
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

	async *updates(): AsyncGenerator<Update<T>> {
		if (this.#handled) throw new RivuletError(4409, "the subscription has handlers");
		yield* this.#all();
	}

	async *#all(): AsyncGenerator<Update<T>> {
		for (let u = await this.#inbox.next(); u; u = await this.#inbox.next()) yield u;
	}

	async #handle({ message, update }: Handlers<T>): Promise<void> {
		for await (const u of this.#all()) {
			try {
				await (u.type === "message" ? message?.(u.message) : update?.(u));
			} catch (e) {
				this.#host.caught(e);
			}
		}
	}

	unsubscribe(): Promise<void> {
		const [at, state] = [this.#at, this.state];
		for (const u of this.#inbox.clear()) if (u.type === "message") this.#missed(u.message);
		this.end();
		if (at && !at.link.isLost && state !== "idle" && state !== "ended") {
			if (state === "live") return new Promise((resolve) => at.leave(this, resolve));
			if (!this.#asking) {
				at.leaving(this); // the answer to subscribe brings the rest
				if (state === "subscribing") return Promise.resolve();
			} else {
				this.#request++; // nothing was sent
				at.answered(this);
			}
		}
		inherit(this.#host, this, false);
		return Promise.resolve();
	}

	#missed(message: Message): void {
		this.missed = true;
		this.#seen.undo(message);
	}

	// Asking.

	/** Sends the subscribe if it is to be asked for, and reports whether. */
	ask(routes: Routes): boolean {
		if (this.state !== "idle" || this.#loading) return false;
		for (const hold of this.#host.holds) if (hold.takes(this)) return false;
		if (!this.#began && !this.#cleared && this.#hasStart && mayLack(routes, this)) {
			this.#cleared = true;
			new Hold(this.#host, this).begin(routes); // the node forgets what they had
			return false;
		}
		this.#host.clock.clearTimeout(this.#retry);
		this.state = "subscribing";
		this.#at = routes;
		const request = ++this.#request;
		this.#asking = false;
		const { token } = this.options;
		if (token) void this.#askWithToken(token, routes, request);
		else this.#send(routes, request, this.#command());
		return true;
	}

	async #askWithToken(
		get: NonNullable<SubscribeOptions["token"]>,
		routes: Routes,
		request: number,
	): Promise<void> {
		const { clock } = this.#host;
		this.#asking = true;
		this.#retry = clock.setTimeout(() => {
			this.#answered(routes, request, undefined, noToken());
			this.#request++; // what comes of it now is too late
		}, tokenTimeout);
		try {
			const token = await get(this.channel);
			if (this.#request !== request || routes.link.isLost) return;
			clock.clearTimeout(this.#retry);
			if (this.state !== "subscribing") throw 0; // not now
			this.#asking = false;
			this.#send(routes, request, { ...this.#command(), token });
		} catch (e) {
			if (this.#request === request) clock.clearTimeout(this.#retry);
			this.#answered(routes, request, undefined, tokenError(e));
		}
	}

	#send(routes: Routes, request: number, subscribe: object): void {
		routes.link.call({ subscribe }, (frame, error) =>
			this.#answered(routes, request, frame, error),
		);
	}

	/** Where to subscribe: after what was received, or as the application said. */
	#command(): object {
		const { persist, token, buffer, ...options } = this.options;
		const { position, positions, last, since, ...rest } = options;
		const received = this.#whole ? this.received.list() : [];
		const known = received.length > 0 ? received : this.#stored;
		const start = known.length < 1 ? options : { ...rest, ...this.#start(known) };
		return { channel: this.channel, ...toFields(start) };
	}

	get #hasStart(): boolean {
		const { position, positions, last, since } = this.options;
		const start = position ?? positions?.[0] ?? last ?? since ?? this.#stored[0];
		return start !== undefined;
	}

	#start(positions: string[]): object {
		return this.pattern ? { positions } : { position: positions[0] };
	}

	#answered(routes: Routes, request: number, frame?: Frame, error?: RivuletError): void {
		if (routes.link.isLost && this.state === "ended") inherit(this.#host, this, false);
		if (routes.link.isLost || this.#request !== request) return;
		if (frame?.subscribed) this.#subscribed(routes, frame.subscribed);
		else this.#refused(routes, error ?? new RivuletError(4500, "a reply of another kind"));
		routes.answered(this);
	}

	#subscribed(routes: Routes, e: any): void {
		const positions: string[] = e.positions ?? [e.position ?? ""];
		if (this.state === "subscribing") return this.#begin(routes, e, positions);
		this.#beganOn(routes, positions); // nobody wants it any more, or not now
		if (this.state === "paused") this.letGo(routes);
		else routes.leave(this, () => {});
	}

	#begin(routes: Routes, e: any, positions: string[]): void {
		const o = this.options;
		const asked = this.#began || this.#stored.length > 0 || o.position || o.positions?.length;
		const resumed = Boolean(asked || e.resumed);
		this.state = "live";
		this.#failures = 0;
		this.#behind = undefined;
		if (!e.recovered) this.#seen.forget();
		if (!this.#began || !e.recovered) this.since = new Places(this.pattern, positions);
		this.#beganOn(routes, positions);

		// A durable session may begin before what was received: that is left out then.
		const places = this.#acks && this.#began && e.recovered ? [] : positions;
		this.#acks?.begun(!e.recovered, positions);
		if (!this.#began && e.recovered) {
			this.#inbox.handled.set(places, true);
			this.#wholeHandled ||= this.#isWhole("subscribed", places);
		}
		this.#began = true;
		this.#whole ||= this.#isWhole("subscribed", places);
		this.received.set(places, true);
		const more = { places, replace: true, begun: true, life: this.#acks?.life };
		const update = { type: "subscribed", recovered: e.recovered, resumed } as const;
		const gap = resumed && !e.recovered ? this.#gap(this.channel, e.reason) : undefined;
		this.#inbox.pushBegun({ update, ...more }, gap && { update: gap, ...more });
		this.#isReady();
		this.#acknowledge();
	}

	#beganOn(routes: Routes, positions: string[]): void {
		routes.began(this, positions);
		const nth = this.pattern ? routes.nth : 0;
		if (nth > this.#nth + 1) this.#streak = nth;
		this.#nth = nth;
	}

	#gap(channel: string, reason = ""): Update<T> {
		this.#host.tell("gap", { channel, reason });
		return { type: "gap", channel, reason, advice };
	}

	/** Tries again later, or ends. */
	#refused(routes: Routes, error: RivuletError): void {
		if (this.state !== "subscribing") {
			this.released = true;
			routes.gone(this);
			if (this.state === "ended") inherit(this.#host, this, false);
			this.#hold?.resume();
		} else if (this.#stored.length > 0 && error.field?.startsWith("position")) {
			this.#stored = []; // not a position, or of another log
			this.state = "idle";
			this.#host.clock.clearTimeout(this.#retry);
			this.#retry = this.#host.clock.setTimeout(() => this.#again(), 0);
			const update = this.#gap(this.channel, "reset");
			this.#inbox.push({ update, places: [] });
		} else if (error.code === 4422 && routes.link.transport !== "websocket") {
			this.state = "idle"; // the next link may be able to
			this.#host.tell("error", error);
		} else if (error.temporary || resubscribes(error.code)) {
			this.state = "idle";
			const wait = this.#host.wait(++this.#failures, error.retryAfterMs);
			this.#retry = this.#host.clock.setTimeout(() => this.#again(), wait);
		} else {
			this.end(error);
		}
	}

	#again(): void {
		this.#host.routes?.add([this]);
	}

	// Receiving.

	/** Takes an `unsubscribed` that nobody asked for. */
	ended(routes: Routes, e: any): void {
		if (this.state !== "live" || this.#at !== routes) return;
		routes.forget(this);
		this.state = "subscribing"; // as if that had been refused
		const told = { code: e.code || 4700, message: e.reason ?? "" };
		this.#refused(routes, errorOf(told));
	}

	/** Queues an update, unless there is no room and the node is to let go. */
	deliver(routes: Routes, update: Update<T>, places: string[]): void {
		if (!this.#listens(routes)) return;
		this.#acks?.came(places);
		if (update.type === "message" && this.#seen.has(update.message)) return this.#acknowledge();
		// At least a message comes of each time that it is taken up: what tells of that is no reason
		// to let go again.
		if (update.type !== "caught_up" && this.#full(routes)) return;
		if (update.type === "message") {
			const start = this.here?.offset(update.message.position) ?? 0;
			this.#seen.note(update.message, start, this.#nth, this.#streak);
			this.#host.tell("message", update.message);
		}
		this.received.set(places);
		this.#whole ||= this.#isWhole(update.type, places);
		const begun = update.type === "caught_up";
		this.#inbox.push({ update, places, begun, life: this.#acks?.life });
		if (begun) this.#acknowledge();
	}

	/** Messages of `channel`, the subscription's or one of its pattern, are gone. */
	lost(routes: Routes, channel: string, reason: string, position: string): void {
		if (!this.#listens(routes)) return;
		if (channel === this.channel) {
			this.#seen.forget();
			this.here?.set([position]);
			this.since?.set([position]);
			if (reason === "log_changed") this.#acks?.forget();
		} else {
			this.#seen.forget(channel);
		}
		this.deliver(routes, this.#gap(channel, reason), [position]);
	}

	/** Notes a fresher place to resume from. */
	passed(routes: Routes, position: string): void {
		if (!this.#listens(routes)) return;
		this.#acks?.came([position]);
		this.received.set([position]);
		this.#inbox.note([position], this.#acks?.life);
	}

	/** Moves over a message that is not to be delivered. */
	skip(routes: Routes, places: string[]): void {
		if (this.#listens(routes)) this.received.set(places);
	}

	/** Whether it had the message. */
	had(message: Message): boolean {
		return this.#seen.had(message);
	}

	/** Goes on from what the application has of another, if that is behind; reports whether it was. */
	goBack(to: Sub): boolean {
		this.after.push(to);
		if (this.after.length > mostAfter) this.after.shift();
		return this.since !== undefined && this.received.goBack(to.#inbox.handled, this.since);
	}

	#listens(routes: Routes): boolean {
		this.missed ||= this.state === "ended";
		return this.state === "live" && this.#at === routes && this.#behind !== routes;
	}

	/**
	 * A full queue first gets the rest of this turn of the event loop: many messages may come in
	 * one, and an application that keeps up must not pay for that.
	 */
	#full(routes: Routes): boolean {
		const { length } = this.#inbox;
		if (length < this.#limit) return false;
		if (length < burst * this.#limit && !this.#acks) {
			this.#check ??= this.#host.clock.setTimeout(() => {
				this.#check = undefined;
				if (this.#inbox.length >= this.#limit && this.#listens(routes)) this.#pause(routes);
			}, 0);
			return false;
		}
		this.#pause(routes);
		return true;
	}

	#pause(routes: Routes): void {
		// To unsubscribe would make a session forget the channel: a new connection reads again. It
		// is one for all subscriptions, and all that is not acknowledged comes: as seldom as can be.
		if (this.#acks) this.#behind = routes;
		else new Hold(this.#host, this).begin(routes);
	}

	// Pausing: see Hold.

	/** Whether half the queue, a durable one all of it, is free, or nobody waits. */
	get hasRoom(): boolean {
		return this.state === "ended" || this.#inbox.length <= (this.#acks ? 0 : this.#limit / 2);
	}

	heldBy(hold: Hold): boolean {
		return this.state === "paused" && this.#hold === hold;
	}

	/** Reports whether the node knows it here. */
	pause(hold: Hold, routes?: Routes): boolean {
		if (this.state === "paused" || this.state === "ended" || this.#acks) return false;
		const known = this.state === "live";
		this.released = this.state === "idle"; // else the node confirms, or its answer brings the rest
		this.state = "paused";
		this.#hold = hold;
		return known && this.#at === routes;
	}

	/** Unsubscribes what is paused. */
	letGo(routes: Routes): void {
		routes.leave(this, () => {
			this.released = true;
			this.#at = undefined;
			this.#hold?.resume();
		});
	}

	unpause(): void {
		this.state = "idle";
		this.#hold = undefined;
		this.#at = undefined;
	}

	/** The link is lost: to be asked for again. */
	detach(): void {
		this.released = true;
		this.#at = undefined;
		this.#behind = undefined;
		if (this.state === "subscribing" || this.state === "live") this.state = "idle";
		this.#hold?.resume();
	}

	// The application's side.

	#onTaken(): void {
		this.#hold?.resume();
		if (this.#behind && this.hasRoom) this.#behind.link.fail("reads again what had no room");
	}

	/**
	 * Whether nothing is missing of the positions from here on. Over HTTP a pattern may begin
	 * without any, and those of its messages are of some streams only: the others would be lost.
	 */
	#isWhole(type: Update["type"] | undefined, places: string[]): boolean {
		if (!places[0]) return false;
		return !this.pattern || type === "subscribed" || type === "caught_up";
	}

	#onHandled({ update, places, life }: Handled): void {
		this.#wholeHandled ||= this.#isWhole(update?.type, places);
		if (update?.type !== "subscribed") this.#acks?.reached(places.at(-1), life);
		if (!this.#acks && !this.#shelf) return;
		const { clock } = this.#host;
		if (++this.#unsettled >= settleAfter || this.state === "ended") this.settle();
		else this.#settle ??= clock.setTimeout(() => this.settle(), settleAfter);
	}

	/** Saves and acknowledges what was handled. */
	settle(): void {
		this.#host.clock.clearTimeout(this.#settle);
		this.#settle = undefined;
		const whole = this.#wholeHandled || this.#stored.length > 0;
		if (this.#unsettled > 0 && whole) this.#shelf?.save(this.positions.join("\n"));
		this.#unsettled = 0;
		this.#acknowledge();
	}

	#acknowledge(): void {
		if (this.state !== "live" || !this.#at) return;
		this.#acks?.send(this.#at.link, this.channel, (error) => this.#host.tell("error", error));
	}

	async #load(from: Shelf): Promise<void> {
		this.#loading = true;
		const text = await from.load();
		this.#loading = false;
		this.#stored = text ? text.split("\n") : [];
		this.#inbox.handled.set(this.#stored, true);
		if (this.state === "idle") this.#again();
	}

	/** Ends it: with an error for good. `drop` discards what waits. */
	end(error?: RivuletError, drop?: boolean): void {
		if (this.state === "ended") return;
		this.settle();
		this.state = "ended";
		this.#at = undefined;
		this.#error = error;
		for (const timer of [this.#retry, this.#check]) this.#host.clock.clearTimeout(timer);
		this.#host.remove(this);
		if (drop) this.#inbox.clear();
		this.#inbox.end({ type: "unsubscribed", ...(error && { error }) });
		this.#isReady(error ?? new RivuletError(4700, "unsubscribed"));
		this.#hold?.resume(); // others may wait for it
	}
}

function shelf(host: Host, channel: string, { persist }: SubscribeOptions): Shelf | undefined {
	if (!persist || !host.storage) return undefined;
	const name = persist === true ? channel : persist;
	return new Shelf(host.storage, `position:${name}`, (cause) =>
		host.tell("error", new RivuletError(4500, "storage failed", { cause })),
	);
}
