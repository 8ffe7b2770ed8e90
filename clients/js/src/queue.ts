// Commands that wait until they are answered, across connections: publishes and questions. How
// they are sent is loaded later: see sender.ts.

import type { Link } from "./connection.js";
import { RivuletError } from "./errors.js";
import type { Host } from "./host.js";
import { more } from "./lazy.js";
import type { Ask } from "./publish.js";
import type { Sender } from "./sender.js";

/** A command under way or waiting. */
export interface Entry extends Ask {
	readonly order: number;
	/** Settles the promise. */
	readonly settle: (result: unknown, error?: RivuletError) => void;
	/** As it is sent, every time. */
	body?: any;
	/** When the first attempt began whose outcome is unknown. */
	since?: number;
	/** Why the node has not done it, the last time that it was asked, and what that is in the end. */
	said?: RivuletError;
	late: string;
}

/** The commands of a client. */
export class Queue {
	readonly host: Host;
	/** For one answer, in milliseconds. */
	readonly replyTimeout: number;
	/** To send over; what sends is loaded for it. */
	link: Link | undefined;
	/** In the order of the calls. */
	readonly waiting: Entry[] = [];
	/** Of all that wait, in bytes or so. */
	size = 0;
	readonly underWay = new Set<Entry>();
	readonly #messages: number;
	readonly #bytes: number;
	#count = 0;
	#sender: Sender | undefined;

	constructor(host: Host, replyTimeout = 15_000, { messages = 100, bytes = 1 << 20 } = {}) {
		this.host = host;
		this.replyTimeout = replyTimeout;
		this.#messages = messages;
		this.#bytes = bytes;
	}

	/** Resolves with the answer, or says why there is none. */
	ask(ask: Ask): Promise<any> {
		return new Promise((resolve, reject) => {
			const { clock } = this.host;
			const { signal, size } = ask;
			const give = (why: string) => this.give(entry, why, signal?.reason);
			const abort = () => give("aborted");
			const late = () => give(entry.late);
			const timer = clock.setTimeout(late, ask.timeout ?? this.replyTimeout);
			const settle = (result: unknown, error?: RivuletError) => {
				clock.clearTimeout(timer);
				signal?.removeEventListener("abort", abort);
				this.underWay.delete(entry);
				const at = this.waiting.indexOf(entry);
				if (at >= 0) this.take(at);
				error ? reject(error) : resolve(result);
			};
			const entry: Entry = { ...ask, order: this.#count++, settle, late: "no answer in time" };
			signal?.addEventListener("abort", abort);
			if (signal?.aborted) return abort();
			if (ask.fails && !this.link) return give("not connected");
			if (size > this.#bytes) {
				const why = `${size} bytes, more than queue.bytes, ${this.#bytes}`;
				return settle(0, new RivuletError(4413, why, { advice: "Raise the option queue." }));
			}
			if (this.waiting.length >= this.#messages || this.size + size > this.#bytes) {
				const advice = "Wait for the earlier ones, or raise the option queue.";
				return settle(0, new RivuletError(4429, "the queue is full", { advice }));
			}
			this.put(entry, this.waiting.length);
			this.pump();
		});
	}

	/** It is lost: what was under way goes first with the next. */
	lost(): void {
		this.link = undefined;
		for (const entry of [...this.waiting]) if (entry.fails) this.give(entry, "not connected");
	}

	/** Gives all up. */
	close(why: RivuletError): void {
		this.lost();
		this.host.clock.clearTimeout(this.#sender?.pause);
		for (const entry of [...this.waiting])
			if (entry.since === undefined) entry.settle(0, why);
			else this.give(entry, why.message, why);
	}

	put(entry: Entry, at: number): void {
		this.waiting.splice(at, 0, entry);
		this.size += entry.size;
	}

	take(at: number): Entry {
		const [entry] = this.waiting.splice(at, 1) as [Entry];
		this.size -= entry.size;
		return entry;
	}

	/** Ends it without an answer. */
	give(entry: Entry, why: string, cause: any = entry.said): void {
		const open = this.underWay.has(entry) || entry.since !== undefined;
		const code = entry.kind !== "publish" ? 4408 : open ? 4504 : 4503;
		entry.settle(0, new RivuletError(code, why, { cause, retryAfterMs: cause?.retryAfterMs }));
	}

	/** Sends what can be sent. */
	pump(): void {
		if (!more) return; // it is loaded once there is a link
		this.#sender ??= new more.Sender(this);
		this.#sender.pump();
	}
}
