// One connection, from the attempt to its end: the handshake, commands and their replies, signs
// of life. What comes is handed on; who it belongs to is not known here.

import { type Backoff, bounded } from "./backoff.js";
import { errorOf, reconnects } from "./codes.js";
import { RivuletError } from "./errors.js";
import { CONNECT_ID } from "./transport/websocket.js";
import type {
	Clock,
	Frame,
	OpenTransport,
	Transport,
	TransportEnd,
	TransportName,
	TransportOptions,
} from "./types.js";

/** Most silence of a node (P-7.3) and most pause between signs of life, in milliseconds. */
const mostSilence = 90_000;
/** How long a node may take to answer a client that has slept. */
const wakeDeadline = 5_000;
/** How late a timer may be before it counts as a sleep. */
const lateness = 5_000;
/** How long a node has to close the connection after its `disconnect`. */
const farewell = 1_000;
/** A node's ping interval where it does not say. */
const usualPing = 30_000;

/** Why a link has ended, and what follows. */
export interface Loss {
	error: RivuletError;
	/** To come back. */
	retry: boolean;
	/** The token was refused: another may help. */
	token?: boolean;
	/** Not the node's doing, perhaps: the network lets this transport through not at all. */
	blocked?: "perhaps" | "probably";
	garbled?: boolean | undefined;
}

/** What a link tells its client. */
export interface LinkEvents {
	/** It counts as connected; `connected` is the body of that event. */
	up(link: Link, connected: any): void;
	/** A push, once it is up. */
	push(link: Link, frame: Frame): void;
	/** Its end, the last. */
	down(link: Link, loss: Loss): void;
	/** Milliseconds from a ping to its pong. */
	roundTrip(ms: number): void;
}

/** What a link is opened with. */
export interface LinkOptions {
	transport: TransportName;
	open: OpenTransport;
	options: TransportOptions;
	/** Silence after which it asks for a sign of life, in milliseconds. */
	pingInterval: number;
}

/** Takes the reply to a command, or why there is none. Called once, must not throw. */
export type Reply = (frame: Frame | undefined, error?: RivuletError) => void;

interface Waiting {
	readonly take: Reply;
	timer?: unknown;
}

/** The error of a command whose connection was lost before the reply. */
export const lost = (): RivuletError =>
	new RivuletError(4504, "the connection was lost", { temporary: true });

/** One connection. */
export class Link {
	readonly transport: TransportName;
	/** Of the node's `connected`. */
	client = "";
	isUp = false;
	isLost = false;

	readonly #clock: Clock;
	readonly #events: LinkEvents;
	readonly #session: boolean;
	readonly #wire: Transport;
	readonly #replies = new Map<number, Waiting>();
	readonly #pings: { at: number; pong: (ms?: number) => void }[] = [];
	#id = CONNECT_ID;
	/** When something arrived last. */
	#heard: number;
	/** And whether a ping was sent since. */
	#asked = false;
	#ping: number;
	#silence = mostSilence;
	#timer: unknown;
	#deadline: unknown;
	#refusal: RivuletError | undefined;
	#disconnect: any;

	constructor(how: LinkOptions, events: LinkEvents) {
		this.transport = how.transport;
		this.#events = events;
		this.#clock = how.options.clock;
		this.#session = how.options.session !== undefined && how.transport === "websocket";
		this.#heard = this.#clock.now();
		this.#ping = how.pingInterval;
		this.#wire = how.open(how.options, {
			event: (frame) => this.#event(frame),
			end: (end) => this.#end(end),
			alive: () => this.#alive(),
		});
	}

	/** Bytes not sent yet. */
	get buffered(): number {
		return this.#wire.buffered;
	}

	/**
	 * Sends a command; the reply, or an error, is called later, but at once if it cannot be sent.
	 * `again` repeats it after temporary errors.
	 */
	call(command: Frame, reply: Reply, timeout?: number, again?: Backoff): void {
		if (this.isLost) return reply(undefined, lost());
		const id = ++this.#id;
		const take: Reply = (frame, error) => {
			this.#clock.clearTimeout(waiting.timer);
			this.#replies.delete(id);
			if (this.isLost || !error?.temporary || !again) return reply(frame, error);
			this.#replies.set(id, waiting); // for `close`
			waiting.timer = this.#clock.setTimeout(
				() => {
					this.#replies.delete(id);
					this.call(command, reply, timeout, again);
				},
				again(1, error.retryAfterMs),
			);
		};
		const waiting: Waiting = { take };
		this.#replies.set(id, waiting);
		try {
			this.#wire.send({ id, ...command });
		} catch (e) {
			return take(undefined, e instanceof RivuletError ? e : new RivuletError(4400, String(e)));
		}
		if (timeout !== undefined && this.#replies.has(id)) {
			const late = new RivuletError(4408, "no reply in time", { temporary: true });
			waiting.timer = this.#clock.setTimeout(() => take(undefined, late), timeout);
		}
	}

	/** Asks for a sign of life; `pong` is called with the milliseconds, or nothing at the end. */
	ping(pong: (ms?: number) => void = () => {}): void {
		if (this.isLost) return pong();
		if (this.#pings.length > 16) this.#pings.shift()?.pong(); // it answers none
		this.#pings.push({ at: this.#clock.now(), pong });
		this.#wire.send({ ping: {} });
	}

	/** After a sleep: is there still somebody? */
	probe(): void {
		if (!this.isUp || this.isLost || this.#deadline !== undefined) return;
		const asked = this.#clock.now();
		this.ping();
		this.#deadline = this.#clock.setTimeout(() => {
			this.#deadline = undefined;
			if (this.#heard < asked) this.fail("no sign of life");
		}, wakeDeadline);
	}

	/** Ends it for it does not come up. */
	giveUp(): void {
		this.#end({ code: 1006, reason: "no `connected` in time" }, "probably");
	}

	/** Ends it as if it had been lost. */
	fail(reason: string): void {
		this.#end({ code: 4001, reason });
	}

	/** Ends it for good; nothing is told of it any more, but to who waits for replies. */
	close(code?: number, reason?: string): void {
		if (this.isLost) return;
		this.isLost = true;
		this.isUp = false;
		this.#clock.clearTimeout(this.#timer);
		this.#clock.clearTimeout(this.#deadline);
		this.#wire?.close(code, reason);
		for (const { pong } of this.#pings.splice(0)) pong();
		for (const { take } of this.#replies.values()) take(undefined, lost());
	}

	#event(frame: Frame): void {
		if (this.isLost) return;
		this.#alive();
		if (frame.disconnect) this.#leaving(frame.disconnect);
		else if (frame.ping) this.#wire.send({ pong: {} });
		else if (frame.pong) this.#pong();
		else if (!this.isUp) this.#greeted(frame);
		else if (frame.id !== undefined) this.#answered(frame.id, frame);
		else this.#events.push(this, frame);
	}

	#alive(): void {
		this.#heard = this.#clock.now();
		this.#asked = false;
	}

	#pong(): void {
		const ping = this.#pings.shift();
		if (!ping) return;
		const ms = this.#heard - ping.at;
		ping.pong(ms);
		this.#events.roundTrip(ms);
	}

	#answered(id: number, frame: Frame): void {
		const error = frame.error && errorOf(frame.error);
		this.#replies.get(id)?.take(error ? undefined : frame, error);
	}

	/** What comes before it counts as connected (P-1.4, P-12.1). */
	#greeted(frame: Frame): void {
		const c = frame.connected;
		if (c && (!this.#session || c.session)) {
			this.#up(c);
		} else if (c && frame.id) {
			this.#end({ code: 4422, reason: "the node keeps no sessions" });
		} else if (frame.error && frame.id === CONNECT_ID) {
			this.#refusal = errorOf(frame.error);
			this.#arm(farewell, () => this.#end({ code: 1006, reason: "" })); // `disconnect` says more
		}
	}

	#up(connected: any): void {
		const interval = connected.ping_interval > 0 ? connected.ping_interval * 1000 : usualPing;
		this.#ping = Math.min(this.#ping, interval);
		this.#silence = Math.min(mostSilence, 3 * interval);
		this.client = connected.client;
		this.isUp = true;
		this.#listen();
		this.#events.up(this, connected);
	}

	#leaving(disconnect: any): void {
		this.#disconnect = disconnect;
		this.#arm(farewell, () => this.#end({ code: disconnect.code, reason: disconnect.reason }));
	}

	/** Waits for the next moment at which silence has a meaning (section 7). */
	#listen(): void {
		const due = this.#heard + (this.#asked ? this.#silence : this.#ping);
		this.#arm(due - this.#clock.now(), () => {
			const now = this.#clock.now();
			const quiet = now - this.#heard;
			if (now - due > lateness) {
				this.probe();
				return this.#arm(wakeDeadline, () => this.#listen());
			}
			if (quiet >= this.#silence) return this.fail("no sign of life");
			else if (quiet >= this.#ping && !this.#asked) this.ping();
			this.#asked ||= quiet >= this.#ping;
			this.#listen();
		});
	}

	#arm(ms: number, run: () => void): void {
		this.#clock.clearTimeout(this.#timer);
		if (!this.isLost) this.#timer = this.#clock.setTimeout(run, Math.max(ms, 0));
	}

	#end(end: TransportEnd, blocked: Loss["blocked"] = "perhaps"): void {
		if (this.isLost) return;
		const wasUp = this.isUp;
		this.close();
		const loss = this.#loss(end);
		const foreign = !wasUp && !this.#refusal && !this.#disconnect && end.status === undefined;
		if (foreign && (end.blocked || end.code === 1006)) loss.blocked = blocked;
		if (wasUp && end.blocked) loss.blocked = "probably"; // it seemed to work
		this.#events.down(this, loss);
	}

	#loss(end: TransportEnd): Loss {
		const { status } = end;
		const told = this.#disconnect ?? {};
		const refusal = this.#refusal;
		const code: number = told.code ?? refusal?.code ?? (status ? 4000 + status : end.code);
		// Of answers over HTTP, all but those that the token is to blame for are worth a return.
		const comesBack = status ? status !== 401 && status !== 403 : reconnects(code);
		const retry: boolean = end.garbled ?? told.reconnect ?? refusal?.temporary ?? comesBack;
		const asked = Math.max(told.retry_after_ms ?? 0, end.retryAfterMs ?? 0);
		return {
			error: new RivuletError(
				refusal?.code ?? code,
				refusal?.message || told.reason || end.reason || "connection lost",
				{
					field: refusal?.field,
					temporary: retry,
					retryAfterMs: bounded(Math.max(asked, refusal?.retryAfterMs ?? 0)),
				},
			),
			retry,
			token: [4006, 4201, 4401].includes(code) || refusal?.code === 4401,
			garbled: end.garbled,
		};
	}
}
