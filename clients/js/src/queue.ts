// Commands that are repeated until they are answered, across connections: publishes, each stored
// once, in the order of the calls, and questions.

import type { Backoff } from "./backoff.js";
import { leavesOpen } from "./codes.js";
import type { Link } from "./connection.js";
import { RivuletError } from "./errors.js";
import type { Clock } from "./types.js";

/** How many may be unanswered at once, and how many bytes unsent, before others wait. */
const mostUnderWay = 4096;
/** Over HTTP each is a request of its own, and one channel's follow each other. */
const mostRequests = 4;
const mostUnsent = 1 << 20;
/** A node's window of idempotency, 120 s, but the last eighth, in which a message may arrive. */
const window = 105_000;

const closed = "client closed";

/** A command and how it is treated. */
export interface Ask {
	/** Of the command, and of the event that answers. */
	readonly kind: "publish" | "history" | "presence";
	readonly reply: string;
	readonly body: any;
	/** How much it counts, in bytes or so. */
	readonly size: number;
	readonly timeout: number;
	/** Not to wait for a connection. */
	readonly fails?: boolean;
	readonly excludeSelf?: boolean | undefined;
	readonly signal?: AbortSignal | undefined;
}

interface Entry extends Ask {
	readonly order: number;
	/** Settles the promise. */
	readonly settle: (result: unknown, error?: RivuletError) => void;
	/** When the first attempt began whose outcome is unknown. */
	since?: number;
}

/** What a queue needs. */
export interface QueueOptions {
	clock: Clock;
	wait: Backoff;
	replyTimeout: number;
	messages: number;
	bytes: number;
}

/** The commands of a client. */
export class Queue {
	readonly #o: QueueOptions;
	#link: Link | undefined;
	/** In the order of the calls. */
	#waiting: Entry[] = [];
	#size = 0;
	readonly #underWay = new Set<Entry>();
	#count = 0;
	#failures = 0;
	/** Until it is over nothing is sent. */
	#pause: unknown;

	constructor(options: QueueOptions) {
		this.#o = options;
	}

	/** Resolves with the answer, or says why there is none. */
	ask(ask: Ask): Promise<any> {
		return new Promise((resolve, reject) => {
			const { clock, messages, bytes } = this.#o;
			const { signal } = ask;
			const give = (why: string) => this.#give(entry, why, signal?.reason);
			const abort = () => give("aborted");
			const timer = clock.setTimeout(() => give("no answer in time"), ask.timeout);
			const settle = (result: unknown, error?: RivuletError) => {
				clock.clearTimeout(timer);
				signal?.removeEventListener("abort", abort);
				error ? reject(error) : resolve(result);
			};
			const entry: Entry = { ...ask, order: this.#count++, settle };
			signal?.addEventListener("abort", abort);
			if (signal?.aborted) return abort();
			if (ask.fails && !this.#link) return give("not connected");
			if (ask.size > bytes) {
				const why = `${ask.size} bytes, more than queue.bytes, ${bytes}`;
				return settle(0, new RivuletError(4413, why, { advice: "Raise the option queue." }));
			}
			if (this.#waiting.length >= messages || this.#size + ask.size > bytes) {
				const advice = "Wait for the earlier ones, or raise the option queue.";
				return settle(0, new RivuletError(4429, "the queue is full", { temporary: true, advice }));
			}
			this.#enqueue(entry);
			this.#pump();
		});
	}

	/** A link to send over. */
	connected(link: Link): void {
		this.#link = link;
		this.#pump();
	}

	/** It is lost: what was under way goes first with the next. */
	lost(): void {
		this.#link = undefined;
		for (const entry of [...this.#waiting]) if (entry.fails) this.#give(entry, "not connected");
	}

	/** Gives all up. */
	close(): void {
		this.lost();
		this.#o.clock.clearTimeout(this.#pause);
		for (const entry of [...this.#waiting]) this.#give(entry, closed);
	}

	#enqueue(entry: Entry): void {
		const after = this.#waiting.findLastIndex((other) => other.order < entry.order);
		this.#waiting.splice(after + 1, 0, entry);
		this.#size += entry.size;
	}

	#resume(): void {
		this.#o.clock.clearTimeout(this.#pause);
		this.#pause = undefined;
		this.#pump();
	}

	#pump(): void {
		const under = this.#underWay;
		const most = this.#link?.transport === "websocket" ? mostUnderWay : mostRequests;
		while (this.#link?.isUp && this.#pause === undefined && this.#waiting.length > 0) {
			const full = under.size >= most || this.#link.buffered > mostUnsent;
			if (full && under.size > 0) return;
			const entry = this.#waiting.shift() as Entry;
			this.#size -= entry.size;
			const { since } = entry;
			if (since !== undefined && this.#o.clock.now() - since > window)
				this.#give(entry, "its key has expired");
			else this.#send(this.#link, entry);
		}
	}

	#send(link: Link, entry: Entry): void {
		const { kind, reply, body } = entry;
		const began = this.#o.clock.now();
		this.#underWay.add(entry);
		link.call(
			{ [kind]: entry.excludeSelf ? { ...body, exclude: link.client } : body },
			(frame, error) => {
				if (!this.#underWay.delete(entry)) return;
				const open = error && kind === "publish" && leavesOpen(error.code);
				if (open) entry.since ??= began;
				if (error?.temporary) return this.#again(entry, link, error);
				if (frame?.[reply]) this.#failures = 0;
				else if (!error) error = new RivuletError(4500, "a reply of another kind");
				if (error && entry.since !== undefined) this.#give(entry, error.message, error);
				else this.#finish(entry, frame?.[reply], error);
				this.#pump();
			},
			this.#o.replyTimeout,
		);
	}

	/** Later, and before what was called later. */
	#again(entry: Entry, link: Link, { retryAfterMs }: RivuletError): void {
		this.#enqueue(entry);
		if (link.isLost) return; // the next one sends it
		this.#o.clock.clearTimeout(this.#pause);
		const wait = this.#o.wait(++this.#failures, retryAfterMs);
		this.#pause = this.#o.clock.setTimeout(() => this.#resume(), wait);
	}

	/** Ends it without an answer. */
	#give(entry: Entry, why: string, cause?: unknown): void {
		const open = this.#underWay.has(entry) || entry.since !== undefined;
		const code = entry.kind !== "publish" ? 4408 : open ? 4504 : 4503;
		const more = why === closed && !open && { temporary: false, advice: "Make a new client." };
		this.#finish(entry, 0, new RivuletError(code, why, { cause, ...more }));
	}

	#finish(entry: Entry, result: unknown, error?: RivuletError): void {
		this.#underWay.delete(entry);
		const at = this.#waiting.indexOf(entry);
		if (at >= 0) {
			this.#waiting.splice(at, 1);
			this.#size -= entry.size;
		}
		entry.settle(result, error);
	}
}
