// One connection, from the attempt to its end: the handshake, commands and their replies; signs of
// life are loaded later. What comes is handed on; who it belongs to is not known here.

import { type Backoff, bounded } from "./backoff.js";
import { errorOf, reconnects } from "./codes.js";
import { RivuletError } from "./errors.js";
import { chunks } from "./lazy.js";
import type { Pulse } from "./pulse.js";
import { CONNECT_ID } from "./transport/websocket.js";
import type {
	Clock,
	Frame,
	Transport,
	TransportEnd,
	TransportEvents,
	TransportName,
	TransportOptions,
} from "./types.js";

/** Why a link has ended, and what follows. */
export interface Loss {
	error: RivuletError;
	/** To come back; where it is absent, if the error is temporary. */
	retry?: boolean;
	/** The token was refused: another may help. */
	token?: boolean;
	/** How much it seems, up to 2, that the network does not let this transport through. */
	blocked?: number;
	garbled?: boolean | undefined;
}

/** What a link tells its client. */
export interface LinkEvents {
	/** It counts as connected; `connected` is the body of that event. */
	up(link: Link, connected: any): void;
	/** What else is known of why there is none. */
	readonly hint: string;
	/** A push, once it is up. */
	push(link: Link, frame: Frame): void;
	/** Its end, the last. */
	down(link: Link, loss: Loss): void;
}

/** Takes the reply to a command, or why there is none. Called once, must not throw. */
export type Reply = (frame: Frame | undefined, error?: RivuletError) => void;

/** The error of a command whose connection was lost before the reply. */
export const lost = (): RivuletError => new RivuletError(4504, "the connection was lost");

/** One connection. */
export class Link implements TransportEvents {
	readonly transport: TransportName;
	/** Of the node's `connected`. */
	client = "";
	isUp = false;
	isLost = false;
	/** There once that is loaded which opens it: before it is up. */
	wire!: Transport;
	/** Once it is up, and that is loaded. */
	pulse: Pulse | undefined;
	/** Who waits for the pong to a ping. */
	readonly pongs: ((ms?: number) => void)[] = [];
	/** When something arrived last, and whether a ping was sent since. */
	heard: number;
	asked = false;
	/** The timer of what is loaded again. */
	retry: unknown;

	readonly #clock: Clock;
	readonly #events: LinkEvents;
	readonly #session: boolean;
	readonly #replies = new Map<number, Reply>();
	#id = CONNECT_ID;

	constructor(transport: TransportName, options: TransportOptions, events: LinkEvents) {
		this.transport = transport;
		this.#events = events;
		this.#clock = options.clock;
		this.#session = options.session !== undefined && transport === "websocket";
		this.heard = this.#clock.now();
		chunks[transport]()
			.then(({ open }) => {
				if (!this.isLost) this.wire = open(options, this);
			})
			.catch((e) => this.end({ code: 1006, reason: String(e) })); // as of ws: in a page of https
	}

	/** Bytes not sent yet. */
	get buffered(): number {
		return this.wire.buffered;
	}

	/**
	 * Sends a command; the reply, or an error, is called later, but at once if it cannot be sent.
	 * `again` repeats it after temporary errors.
	 */
	call(command: Frame, reply: Reply, timeout?: number, again?: Backoff, failures = 1): void {
		if (this.isLost) return reply(undefined, lost());
		let timer: unknown;
		const id = ++this.#id;
		const take: Reply = (frame, error) => {
			this.#clock.clearTimeout(timer);
			this.#replies.delete(id);
			if (this.isLost || !error?.temporary || !again) return reply(frame, error);
			const repeat = () => {
				this.#replies.delete(id);
				this.call(command, reply, timeout, again, failures + 1);
			};
			timer = this.#clock.setTimeout(repeat, again(failures, error.retryAfterMs));
			this.#replies.set(id, take); // for `close`
		};
		this.#replies.set(id, take);
		try {
			this.wire.send({ id, ...command });
		} catch (e) {
			return take(undefined, e instanceof RivuletError ? e : new RivuletError(4400, String(e)));
		}
		if (!timeout || !this.#replies.has(id)) return;
		const late = new RivuletError(4408, "no reply in time");
		timer = this.#clock.setTimeout(() => take(undefined, late), timeout);
	}

	/** Asks for a sign of life; `pong` is called with the milliseconds, or nothing at the end. */
	ping(pong: (ms?: number) => void = () => {}): void {
		if (this.pongs.push(pong) === 1) this.pulse?.ping();
	}

	get state(): string {
		return this.isLost ? "ended" : "";
	}

	/** Ends it for it does not come up. */
	giveUp(): void {
		this.end({ code: 1006, reason: "no `connected` in time", blocked: 2 });
	}

	/** Ends it as if it had been lost. */
	fail(reason: string): void {
		this.end({ code: 4001, reason });
	}

	/** Ends it for good; nothing is told of it any more, but to who waits for replies. */
	close(): void {
		if (this.isLost) return;
		this.isLost = true;
		this.isUp = false;
		this.#clock.clearTimeout(this.retry);
		this.pulse?.stop();
		this.pulse = undefined;
		this.wire?.close();
		for (const pong of this.pongs.splice(0)) pong();
		for (const take of this.#replies.values()) take(undefined, lost());
	}

	event(frame: Frame): void {
		if (this.isLost) return;
		this.alive();
		const { id, connected, disconnect, error } = frame;
		if (disconnect) {
			const { code, reason, reconnect: temporary, retry_after_ms: retryAfterMs } = disconnect;
			return this.end({ code, reason, temporary, retryAfterMs });
		}
		if (frame.ping) return this.wire.send({ pong: {} });
		if (frame.pong) return this.pulse?.pong();
		const failure = error && errorOf(error);
		if (this.isUp && id) return this.#replies.get(id)?.(error ? undefined : frame, failure);
		if (this.isUp) return this.#events.push(this, frame);
		// The node says no more, or a `disconnect` that says no better, and waits for another connect.
		if (failure && id === CONNECT_ID) return this.end({ ...failure, reason: failure.message });
		if (!connected) return;
		if (connected.session || !this.#session) this.#up(connected);
		else if (id) this.end({ code: 4422, reason: "the node keeps no sessions" });
	}

	alive(): void {
		this.heard = this.#clock.now();
		this.asked = false;
	}

	#up(connected: any): void {
		this.client = connected.client;
		this.isUp = true;
		this.#events.up(this, connected);
	}

	end({ code, reason, field, temporary, retryAfterMs, blocked, garbled }: TransportEnd): void {
		if (this.isLost) return;
		const { isUp } = this;
		this.close();
		const plain = isUp ? "connection lost" : `no connection${this.#events.hint}`;
		this.#events.down(this, {
			error: new RivuletError(code, reason || plain, {
				field,
				temporary: garbled ?? temporary ?? reconnects(code),
				retryAfterMs: bounded(retryAfterMs),
			}),
			token: code === 4006 || code === 4201 || code === 4401,
			garbled,
			// One that seemed to work, or let the time go by, is blocked rather than out of luck.
			blocked: blocked || (!isUp && code === 1006) ? (isUp ? 2 : Number(blocked) || 1) : 0,
		});
	}
}
