// A subscription: its side of the wire, and what an application holds of it.

import { errorOf, resubscribes } from "./codes.js";
import { Places, Seen } from "./cursor.js";
import { RivuletError } from "./errors.js";
import type { Hold } from "./hold.js";
import type { Host, Subscription, SubscriptionState } from "./host.js";
import type { Keep } from "./keep.js";
import { load, loadFor, more } from "./lazy.js";
import { isPattern } from "./names.js";
import type { Routes } from "./routes.js";
import { toSubscribe } from "./start.js";
import { type Handled, type Item, Stream } from "./stream.js";
import type { Frame, Handlers, SubscribeOptions, Update } from "./types.js";

/** How many times its bound a durable queue takes: see `#pause`. */
const durableRoom = 16;
/** Beyond this many times its bound a queue does not wait for the application's next turn. */
const burst = 4;

const advice = "Load what is missing from where you keep it, then go on.";

/** @internal */
export class Sub<T = any> extends Stream<T> implements Subscription<T> {
	readonly channel: string;
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
	/** Those that overlap were let go of, so that it gets what it asks for. */
	cleared = false;
	/** Positions of an earlier page, until the node has refused them. */
	stored: string[] = [];
	/** The timer of what is tried again. */
	retry: unknown;
	/** In `paused`: why, and whether the node has confirmed. */
	hold: Hold | undefined;
	released = false;

	readonly #host: Host;
	readonly #durable: boolean;
	readonly #limit: number;
	/** What it has had by itself; by `Had`. */
	seen = new Seen();
	#keep: Keep | undefined;
	/** Messages of a durable subscription were let go of on this link. */
	#behind = false;
	/** What it needs is not there yet; unknown until somebody has looked. */
	#loading: boolean | undefined;
	#began = false;
	/** What was received is all that a resume needs: see `isWhole`. */
	#whole: boolean;
	#request = 0;
	/** For a token: the node knows nothing of it yet. */
	asking = false;
	#failures = 0;
	#check: unknown;

	constructor(host: Host, channel: string, options: SubscribeOptions, handlers?: Handlers<T>) {
		super(isPattern(channel), options, handlers, host);
		this.#host = host;
		this.channel = channel;
		this.options = options;
		this.#durable = Boolean(options.durable);
		this.#limit = Math.max(options.buffer ?? 256, 1) * (this.#durable ? durableRoom : 1);
		this.received = new Places(this.pattern);
		this.#whole = !this.pattern; // of a channel any position is
	}

	async unsubscribe(): Promise<void> {
		const { at, state } = this;
		for (const u of this.drop()) {
			if (u.type !== "message") continue;
			this.missed = true;
			this.#host.had?.undo(u.message, this);
		}
		this.end();
		if (at && !at.link.isLost) {
			if (state === "live") return new Promise((resolve) => at.leave(this, resolve));
			if (this.asking) {
				this.#request++; // nothing was sent
				at.answered(this);
			} else {
				at.leaving(this); // the answer to subscribe brings the rest
				if (state === "subscribing") return;
			}
		}
		more?.inherit(this.#host, this, false);
	}

	/** Sends the subscribe if it is to be asked for, and reports whether. */
	ask(routes: Routes): boolean {
		this.prepare();
		if (this.state !== "idle" || this.#loading) return false;
		if (more?.waits(this.#host, routes, this, !this.#began)) return false;
		this.#host.clock.clearTimeout(this.retry);
		this.state = "subscribing";
		this.at = routes;
		const request = ++this.#request;
		const { channel } = this;
		const { token: get } = this.options;
		this.asking = Boolean(get);
		const send = (token?: string, error?: RivuletError) => {
			if (this.#request !== request || routes.link.isLost) return;
			if (error || this.state !== "subscribing")
				return this.#answered(routes, request, undefined, error);
			this.asking = false;
			const subscribe = { ...this.#command(), ...(get && { token }) };
			routes.link.call({ subscribe }, (frame, refused) => {
				routes.brought.get(channel)?.end(refused); // else its place is taken
				this.#answered(routes, request, frame, refused);
			});
		};
		if (get) this.retry = more?.askToken(this.#host.clock, () => get(channel), send);
		else send();
		return true;
	}

	/** Where to subscribe: after what was received, or as the application said. */
	#command(): object {
		const received = this.#whole ? this.received.list() : [];
		const known = received[0] ? received : this.stored;
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
		else routes.leave(this);
	}

	#begin(routes: Routes, e: any, positions: string[]): void {
		const { recovered } = e;
		const o = this.options;
		const again = this.#began;
		const resumed = Boolean(
			again || this.stored[0] || o.position || o.positions?.length || e.resumed,
		);
		this.state = "live";
		this.#failures = 0;
		this.#behind = false;
		if (!again || !recovered) {
			this.#forget();
			this.since = new Places(this.pattern, positions);
		}
		routes.began(this, positions);

		// A durable session may begin before what was received: that is left out then.
		const places = this.#durable && again && recovered ? [] : positions;
		this.#keep?.begun(recovered, again, positions);
		if (!again && recovered) this.handled.set(places, true);
		this.#began = true;
		this.#whole ||= !!places[0];
		this.received.set(places, true);
		const item: Omit<Item, "update"> = {
			places,
			entire: true,
			begun: true,
			life: this.#keep?.life,
		};
		const gap = resumed && !recovered && this.#gap(this.channel, e.reason);
		this.pushBegun(
			{ ...item, update: { type: "subscribed", recovered, resumed } },
			gap ? { ...item, update: gap } : undefined,
		);
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
			this.hold?.takeUp();
			return;
		}
		const { clock, wait } = this.#host;
		const stale = this.stored[0] && error.field?.startsWith("position");
		const unable = error.code === 4422 && routes.link.transport !== "websocket";
		if (!stale && !unable && !error.temporary && !resubscribes(error.code)) return this.fail(error);
		this.state = "idle";
		this.at = undefined;
		if (unable) return this.#host.tell("error", error); // the next link may be able to
		if (stale) {
			this.stored = []; // not a position, or of another log
			this.push({ update: this.#gap(this.channel, "reset"), places: [] });
		}
		clock.clearTimeout(this.retry);
		const ms = stale ? 0 : wait(++this.#failures, error.retryAfterMs);
		this.retry = clock.setTimeout(() => this.#again(), ms);
		if (this.#failures > 1) this.#host.tell("error", error);
	}

	#again(): void {
		this.#host.routes?.add([this]);
	}

	/** Takes an `unsubscribed` that nobody asked for. */
	ended(routes: Routes, e: any): void {
		if (this.state !== "live") return;
		routes.forget(this);
		this.state = "subscribing"; // as if that had been refused
		this.#refused(routes, errorOf({ code: e.code || 4700, message: e.reason ?? "" }));
	}

	/** Queues an update, unless there is no room and the node is to let go. */
	deliver(update: Update<T>, places: string[]): void {
		const message = update.type === "message" ? update.message : undefined;
		const begun = update.type === "caught_up";
		if (!this.#listens(message)) return;
		this.#keep?.came(places);
		if (message && this.seen.has(message)) return this.#keep?.acknowledge();
		// At least a message comes of each time that it is taken up: what tells of that is no reason
		// to let go again.
		if (!begun && this.#full()) return;
		if (message) {
			this.seen.note(message);
			this.#host.had?.note(message, this);
			this.#host.tell("message", message);
		}
		this.received.set(places);
		this.#whole ||= begun && !!places[0];
		this.push({ update, places, begun, life: this.#keep?.life });
		if (begun) this.#keep?.acknowledge();
	}

	/** Messages of `channel`, the subscription's or one of its pattern, are gone. */
	lost(channel: string, reason: string, position: string): void {
		if (!this.#listens(true)) return;
		if (channel === this.channel) {
			this.#forget();
			this.here?.set([position]);
			this.since?.set([position]);
			if (reason === "log_changed") this.#keep?.forget();
		} else {
			this.seen.forget(channel);
		}
		this.deliver(this.#gap(channel, reason), [position]);
	}

	/** Notes a fresher place to resume from. */
	passed(position: string): void {
		if (!this.#listens()) return;
		this.#keep?.came([position]);
		this.received.set([position]);
		this.note([position], this.#keep?.life);
	}

	#forget(): void {
		this.seen.forget();
		this.born = this.#host.had?.count ?? 0;
	}

	/** `owed`: who goes on when it has ended is to have that. */
	#listens(owed?: unknown): boolean {
		if (owed && this.state === "ended") this.missed = true;
		return this.state === "live" && !this.#behind;
	}

	/**
	 * A full queue first gets the rest of this turn of the event loop: many messages may come in
	 * one, and an application that keeps up must not pay for that.
	 */
	#full(now = this.#durable): boolean {
		if (this.waiting < this.#limit) return false;
		const much = this.waiting >= burst * this.#limit;
		if (!now && !much) {
			this.#check ??= this.#host.clock.setTimeout(() => {
				this.#check = undefined;
				if (this.#listens()) this.#full(true);
			}, 0);
			return false;
		}
		// To unsubscribe would make a session forget the channel: a new connection reads again. It
		// is one for all subscriptions, and all that is not acknowledged comes: as seldom as can be.
		if (this.#durable || (!more && much)) this.#behind = true;
		else if (more) new more.Hold(this.#host, this).begin(this.at as Routes);
		else
			load().then(
				() => this.#listens() && this.#full(),
				() => {}, // then it goes on as a durable one does
			);
		return true;
	}

	/** Whether half the queue, a durable one all of it, is free, or nobody waits. */
	get hasRoom(): boolean {
		return this.state === "ended" || this.waiting <= (this.#durable ? 0 : this.#limit / 2);
	}

	/** The link is lost: to be asked for again. */
	detach(): void {
		this.released = true;
		this.at = undefined;
		this.#behind = false;
		if (this.state === "subscribing" || this.state === "live") this.state = "idle";
		this.hold?.takeUp();
	}

	protected onHandled(item: Handled): void {
		this.#keep?.handled(item);
	}

	protected onTaken(): void {
		this.hold?.takeUp();
		if (this.#behind && this.hasRoom) this.at?.link.fail("reads again what had no room");
	}

	/** Saves and acknowledges what was handled: there may be no other time. */
	settle(): void {
		this.#keep?.settle(true);
	}

	/**
	 * Has what it needs loaded, and then asks. Its client knows it already. Not without a connection:
	 * browsers remember what they could not load, until the page is loaded anew.
	 */
	prepare(): void {
		if (this.#loading !== undefined || (!more && !this.#host.routes)) return;
		const { persist, token } = this.options;
		const keeps = this.#durable || persist;
		this.#loading = !!(keeps || this.pattern || token);
		if (!this.#loading) return;
		void loadFor(this.#host, this, ({ Had, Keep }) => {
			if (this.pattern) this.#host.had ??= new Had(this.#host);
			const loaded = () => {
				this.#loading = false;
				this.handled.set(this.stored, true);
				if (this.state === "idle") this.#again();
			};
			if (keeps) this.#keep = new Keep(this.#host, this);
			if (this.#keep) this.#keep.load(loaded);
			else loaded();
		});
	}

	/** Ends it for an error of its own. */
	fail(error: RivuletError): void {
		this.end(error);
		if (this.handlers && !this.handlers.update) this.#host.tell("error", error);
	}

	/** Ends it: with an error for good. `drop` discards what waits. */
	end(error?: RivuletError, drop?: boolean): void {
		if (this.state === "ended") return;
		this.settle();
		this.state = "ended";
		this.at = undefined;
		for (const timer of [this.retry, this.#check]) this.#host.clock.clearTimeout(timer);
		const { subs } = this.#host;
		if (subs.get(this.channel) === this) subs.delete(this.channel);
		if (drop) this.drop();
		this.finish(error);
		this.hold?.takeUp(); // others may wait for it
	}
}
