// A subscription: its side of the wire, and what an application holds of it.

import { errorOf, resubscribes } from "./codes.js";
import { isWhole, Places, Seen } from "./cursor.js";
import { RivuletError } from "./errors.js";
import type { Hold } from "./hold.js";
import type { Host, Subscription, SubscriptionState } from "./host.js";
import type { Keep } from "./keep.js";
import { load, loadFor, more } from "./lazy.js";
import { isPattern } from "./names.js";
import type { Routes } from "./routes.js";
import { hasStart, toSubscribe } from "./start.js";
import { Stream } from "./stream.js";
import type { Frame, Handlers, SubscribeOptions, Update } from "./types.js";

/** How many times its bound a durable queue takes: see `#pause`. */
const durableRoom = 16;
/** Beyond this many times its bound a queue does not wait for the application's next turn. */
const burst = 4;

const advice = "Load what is missing from where you keep it, then go on from here.";

type Ask = NonNullable<SubscribeOptions["token"]>;

/** @internal */
export class Sub<T = any> extends Stream<T> implements Subscription<T> {
	readonly channel: string;
	readonly pattern: boolean;
	readonly options: SubscribeOptions;
	/** Where to go on from. */
	readonly received: Places;
	/** Where it began on this link; by `Routes`. */
	here: Places | undefined;
	/** Where it has begun for the first time, or after a gap. */
	since: Places | undefined;
	/** It was ended, and the application has not had all that came. */
	missed = false;
	/** How many messages the application had when it began, or was told of a gap: others may repeat. */
	born = 0;
	state: SubscriptionState = "idle";
	/** In `subscribing` and `live`: where. */
	at: Routes | undefined;
	/** What was handled is all that a resume needs. */
	wholeHandled = false;
	/** The timer of what is tried again. */
	retry: unknown;
	/** In `paused`: why, and whether the node has confirmed. */
	hold: Hold | undefined;
	released = false;

	readonly #host: Host;
	readonly #limit: number;
	/** What it has had by itself; by `Had`. */
	seen = new Seen();
	#keep: Keep | undefined;
	/** Where messages of a durable subscription were let go of. */
	#behind: Routes | undefined;
	#loading = false;
	#began = false;
	/** Those that overlap were let go of, so that it gets what it asks for. */
	#cleared = false;
	/** What was received is all that a resume needs. */
	#whole = false;
	#request = 0;
	/** For a token: the node knows nothing of it yet. */
	#asking = false;
	#failures = 0;
	#check: unknown;

	constructor(host: Host, channel: string, options: SubscribeOptions, handlers?: Handlers<T>) {
		const pattern = isPattern(channel);
		super(pattern, options, handlers, {
			handled: (item) => {
				this.wholeHandled ||= isWhole(pattern, item.update?.type, item.places);
				this.#keep?.handled(item);
			},
			taken: () => {
				this.hold?.resume();
				if (this.#behind && this.hasRoom) this.#behind.link.fail("reads again what had no room");
			},
			caught: (e) => host.caught(e),
		});
		this.#host = host;
		this.channel = channel;
		this.pattern = pattern;
		this.options = options;
		this.#limit = Math.max(options.buffer ?? 256, 1) * (options.durable ? durableRoom : 1);
		this.received = new Places(this.pattern);
	}

	unsubscribe(): Promise<void> {
		const [at, state] = [this.at, this.state];
		for (const u of this.inbox.clear()) {
			this.missed ||= u.type === "message";
			if (u.type === "message") this.#host.had?.undo(u.message, this);
		}
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
		more?.inherit(this.#host, this, false);
		return Promise.resolve();
	}

	/** Sends the subscribe if it is to be asked for, and reports whether. */
	ask(routes: Routes): boolean {
		if (this.state !== "idle" || this.#loading) return false;
		for (const hold of this.#host.holds) if (hold.takes(this)) return false;
		const first = !this.#began && !this.#cleared;
		if (more && first && hasStart(this.options, this.#stored) && more.mayLack(routes, this)) {
			this.#cleared = true;
			new more.Hold(this.#host, this).begin(routes); // the node forgets what they had
			return false;
		}
		this.#host.clock.clearTimeout(this.retry);
		this.state = "subscribing";
		this.at = routes;
		const request = ++this.#request;
		this.#asking = false;
		const { token } = this.options;
		if (token) this.#askWithToken(token, routes, request);
		else this.#send(routes, request, this.#command());
		return true;
	}

	#askWithToken(get: Ask, routes: Routes, request: number): void {
		this.#asking = true;
		const { clock } = this.#host;
		this.retry = more?.askToken(
			clock,
			() => get(this.channel),
			(token, error) => {
				if (this.#request !== request || routes.link.isLost) return;
				if (error || this.state !== "subscribing")
					return this.#answered(routes, request, undefined, error);
				this.#asking = false;
				this.#send(routes, request, { ...this.#command(), token });
			},
		);
	}

	#send(routes: Routes, request: number, subscribe: object): void {
		routes.link.call({ subscribe }, (frame, error) => {
			routes.brought.get(this.channel)?.end(); // its place is taken
			this.#answered(routes, request, frame, error);
		});
	}

	/** Where to subscribe: after what was received, or as the application said. */
	#command(): object {
		const received = this.#whole ? this.received.list() : [];
		const known = received[0] ? received : this.#stored;
		return toSubscribe(this.channel, this.pattern, this.options, known);
	}

	#answered(routes: Routes, request: number, frame?: Frame, error?: RivuletError): void {
		if (routes.link.isLost && this.state === "ended") more?.inherit(this.#host, this, false);
		if (routes.link.isLost || this.#request !== request) return;
		if (frame?.subscribed) this.#subscribed(routes, frame.subscribed);
		else this.#refused(routes, error ?? new RivuletError(4500, "a reply of another kind"));
		routes.answered(this);
	}

	#subscribed(routes: Routes, e: any): void {
		const positions: string[] = e.positions ?? [e.position ?? ""];
		if (this.state === "subscribing") return this.#begin(routes, e, positions);
		routes.began(this, positions); // nobody wants it any more, or not now
		if (this.state === "paused") more?.letGo(this, routes);
		else routes.leave(this, () => {});
	}

	#begin(routes: Routes, e: any, positions: string[]): void {
		const o = this.options;
		const asked = this.#began || this.#stored[0] || o.position || o.positions?.length;
		const resumed = Boolean(asked || e.resumed);
		this.state = "live";
		this.#failures = 0;
		this.#behind = undefined;
		if (!this.#began || !e.recovered) {
			this.#forget();
			this.since = new Places(this.pattern, positions);
		}
		routes.began(this, positions);

		// A durable session may begin before what was received: that is left out then.
		const places = this.#durable && this.#began && e.recovered ? [] : positions;
		this.#keep?.acks?.begun(!e.recovered, positions);
		if (!this.#began && e.recovered) {
			this.inbox.handled.set(places, true);
			this.wholeHandled ||= isWhole(this.pattern, "subscribed", places);
		}
		this.#began = true;
		this.#whole ||= isWhole(this.pattern, "subscribed", places);
		this.received.set(places, true);
		const more = { places, replace: true, begun: true, life: this.#keep?.acks?.life };
		const update = { type: "subscribed", recovered: e.recovered, resumed } as const;
		const gap = resumed && !e.recovered ? this.#gap(this.channel, e.reason) : undefined;
		this.inbox.pushBegun({ update, ...more }, gap && { update: gap, ...more });
		this.settled();
		this.#keep?.acknowledge();
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
			if (this.state === "ended") more?.inherit(this.#host, this, false);
			this.hold?.resume();
		} else if (this.#stored[0] && error.field?.startsWith("position")) {
			if (this.#keep) this.#keep.stored = []; // not a position, or of another log
			this.state = "idle";
			this.#host.clock.clearTimeout(this.retry);
			this.retry = this.#host.clock.setTimeout(() => this.#again(), 0);
			this.inbox.push({ update: this.#gap(this.channel, "reset"), places: [] });
		} else if (error.code === 4422 && routes.link.transport !== "websocket") {
			this.state = "idle"; // the next link may be able to
			this.#host.tell("error", error);
		} else if (error.temporary || resubscribes(error.code)) {
			this.state = "idle";
			const { clock, wait } = this.#host;
			const ms = wait(++this.#failures, error.retryAfterMs);
			this.retry = clock.setTimeout(() => this.#again(), ms);
		} else {
			this.end(error);
		}
	}

	#again(): void {
		this.#host.routes?.add([this]);
	}

	/** Takes an `unsubscribed` that nobody asked for. */
	ended(routes: Routes, e: any): void {
		if (this.state !== "live" || this.at !== routes) return;
		routes.forget(this);
		this.state = "subscribing"; // as if that had been refused
		const told = { code: e.code || 4700, message: e.reason ?? "" };
		this.#refused(routes, errorOf(told));
	}

	/** Queues an update, unless there is no room and the node is to let go. */
	deliver(routes: Routes, update: Update<T>, places: string[]): void {
		if (!this.#listens(routes, update.type === "message")) return;
		this.#keep?.acks?.came(places);
		if (update.type === "message" && this.seen.has(update.message))
			return this.#keep?.acknowledge();
		// At least a message comes of each time that it is taken up: what tells of that is no reason
		// to let go again.
		if (update.type !== "caught_up" && this.#full(routes)) return;
		if (update.type === "message") {
			this.seen.note(update.message);
			this.#host.had?.note(update.message, this);
			this.#host.tell("message", update.message);
		}
		this.received.set(places);
		this.#whole ||= isWhole(this.pattern, update.type, places);
		const begun = update.type === "caught_up";
		this.inbox.push({ update, places, begun, life: this.#keep?.acks?.life });
		if (begun) this.#keep?.acknowledge();
	}

	/** Messages of `channel`, the subscription's or one of its pattern, are gone. */
	lost(routes: Routes, channel: string, reason: string, position: string): void {
		if (!this.#listens(routes, true)) return;
		if (channel === this.channel) {
			this.#forget();
			this.here?.set([position]);
			this.since?.set([position]);
			if (reason === "log_changed") this.#keep?.acks?.forget();
		} else {
			this.seen.forget(channel);
		}
		this.deliver(routes, this.#gap(channel, reason), [position]);
	}

	/** Notes a fresher place to resume from. */
	passed(routes: Routes, position: string): void {
		if (!this.#listens(routes)) return;
		this.#keep?.acks?.came([position]);
		this.received.set([position]);
		this.inbox.note([position], this.#keep?.acks?.life);
	}

	#forget(): void {
		this.seen.forget();
		this.born = this.#host.had?.count ?? 0;
	}

	/** `owed`: who goes on when it has ended is to have that. */
	#listens(routes: Routes, owed = false): boolean {
		this.missed ||= owed && this.state === "ended";
		return this.state === "live" && this.at === routes && this.#behind !== routes;
	}

	/**
	 * A full queue first gets the rest of this turn of the event loop: many messages may come in
	 * one, and an application that keeps up must not pay for that.
	 */
	#full(routes: Routes): boolean {
		const { length } = this.inbox;
		if (length < this.#limit) return false;
		if (length < burst * this.#limit && !this.#durable) {
			this.#check ??= this.#host.clock.setTimeout(() => {
				this.#check = undefined;
				if (this.inbox.length >= this.#limit && this.#listens(routes)) this.#pause(routes);
			}, 0);
			return false;
		}
		this.#pause(routes);
		return true;
	}

	#pause(routes: Routes): void {
		// To unsubscribe would make a session forget the channel: a new connection reads again. It
		// is one for all subscriptions, and all that is not acknowledged comes: as seldom as can be.
		if (this.#durable || (!more && this.inbox.length >= burst * this.#limit)) this.#behind = routes;
		else if (more) new more.Hold(this.#host, this).begin(routes);
		else
			load().then(
				() => this.#listens(routes) && this.#full(routes),
				() => {}, // then it goes on as a durable one does
			);
	}

	/** Whether half the queue, a durable one all of it, is free, or nobody waits. */
	get hasRoom(): boolean {
		return this.state === "ended" || this.inbox.length <= (this.#durable ? 0 : this.#limit / 2);
	}

	/** The link is lost: to be asked for again. */
	detach(): void {
		this.released = true;
		this.at = undefined;
		this.#behind = undefined;
		if (this.state === "subscribing" || this.state === "live") this.state = "idle";
		this.hold?.resume();
	}

	/** Saves and acknowledges what was handled: there may be no other time. */
	settle(): void {
		this.#keep?.settle(true);
	}

	get #stored(): string[] {
		return this.#keep?.stored ?? [];
	}

	get #durable(): boolean {
		return Boolean(this.options.durable);
	}

	/** Has what it needs loaded, and then asks. Its client knows it already. */
	prepare(): void {
		const { persist } = this.options;
		const keeps = this.#durable || (persist && this.#host.storage);
		if (!keeps && !this.pattern && !this.options.token) return;
		this.#loading = true;
		void loadFor(this.#host, this, ({ Had, Keep }) => {
			if (this.pattern) this.#host.had ??= new Had(this.#host);
			if (keeps) this.#keep = new Keep(this.#host, this);
			const loading = this.#keep?.load();
			if (loading) void loading.then(() => this.#loaded());
			else this.#loaded();
		});
	}

	#loaded(): void {
		this.#loading = false;
		this.inbox.handled.set(this.#stored, true);
		if (this.state === "idle") this.#again();
	}

	/** Ends it: with an error for good. `drop` discards what waits. */
	end(error?: RivuletError, drop?: boolean): void {
		if (this.state === "ended") return;
		this.settle();
		this.state = "ended";
		this.at = undefined;
		for (const timer of [this.retry, this.#check]) this.#host.clock.clearTimeout(timer);
		this.#host.remove(this);
		if (drop) this.inbox.clear();
		this.finish(error);
		this.hold?.resume(); // others may wait for it
	}
}
