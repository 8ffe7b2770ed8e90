// Publishes, from the call to the answer: in order, across connections, stored once.

import type { Backoff } from "./backoff.js";
import { leavesOpen } from "./codes.js";
import type { Link } from "./connection.js";
import { RivuletError } from "./errors.js";
import { type Draft, draft, toPublished } from "./publish.js";
import type { Clock, Published, PublishOptions } from "./types.js";

/** How many may be unanswered at once, and how many bytes unsent, before others wait. */
const mostUnderWay = 4096;
const mostUnsent = 1 << 20;
/** A node's window of idempotency; its last eighth is left for the message to arrive. */
const usualTimeout = 120_000;
const window = usualTimeout - usualTimeout / 8;

interface Entry extends Draft {
	readonly order: number;
	/** Settles the promise: once, and then it is in no list. */
	readonly settle: (result: Published | RivuletError) => void;
	readonly fails: boolean;
	/** When the first attempt began that may have been stored. */
	unknownSince?: number;
	done: boolean;
}

/** What a queue needs. */
export interface QueueOptions {
	clock: Clock;
	wait: Backoff;
	replyTimeout: number;
	messages: number;
	bytes: number;
}

/** The publishes of a client. */
export class PublishQueue {
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

	/** Publishes, or says why not. */
	async publish(channel: string, data: unknown, options: PublishOptions): Promise<Published> {
		const made = draft(channel, data, options);
		const { signal } = options;
		const fails = options.offline === "fail";
		if (signal?.aborted) throw unstored("aborted", signal.reason);
		if (fails && !this.#link) throw unstored("not connected");
		if (this.#waiting.length >= this.#o.messages || this.#size + made.size > this.#o.bytes) {
			throw new RivuletError(4429, "too many publishes wait for a connection", {
				temporary: true,
				advice: "Wait for the earlier ones, or raise the option queue.",
			});
		}
		return new Promise((resolve, reject) => {
			const give = (why: string, cause?: unknown) => this.#give(entry, why, cause);
			const abort = () => give("aborted", signal?.reason);
			const timer = this.#o.clock.setTimeout(
				() => give("not answered in time"),
				options.timeout ?? usualTimeout,
			);
			const settle = (result: Published | RivuletError) => {
				this.#o.clock.clearTimeout(timer);
				signal?.removeEventListener("abort", abort);
				if (result instanceof RivuletError) reject(result);
				else resolve(result);
			};
			const entry: Entry = { ...made, order: this.#count++, settle, fails, done: false };
			signal?.addEventListener("abort", abort);
			this.#enqueue(entry);
			this.#pump();
		});
	}

	/** A link to send over. */
	connected(link: Link): void {
		this.#link = link;
		this.#failures = 0;
		this.#resume();
	}

	/** It is lost: what was under way goes first with the next. */
	lost(): void {
		this.#link = undefined;
		for (const entry of this.#underWay) this.#again(entry);
		for (const entry of [...this.#waiting]) if (entry.fails) this.#give(entry, "not connected");
	}

	/** Gives all up. */
	close(): void {
		this.#link = undefined;
		this.#o.clock.clearTimeout(this.#pause);
		for (const entry of [...this.#underWay, ...this.#waiting]) this.#give(entry, "client closed");
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
		while (this.#link?.isUp && this.#pause === undefined && this.#waiting.length > 0) {
			if (this.#underWay.size >= mostUnderWay) return;
			if (this.#underWay.size > 0 && this.#link.buffered > mostUnsent) return;
			const entry = this.#waiting.shift() as Entry;
			this.#size -= entry.size;
			const late =
				entry.unknownSince !== undefined && this.#o.clock.now() - entry.unknownSince > window;
			if (late) this.#give(entry, "its key has expired at the node");
			else this.#send(this.#link, entry);
		}
	}

	#send(link: Link, entry: Entry): void {
		const began = this.#o.clock.now();
		const publish = entry.excludeSelf ? { ...entry.command, exclude: link.client } : entry.command;
		this.#underWay.add(entry);
		link.call(
			{ publish },
			(frame, error) => {
				if (entry.done || !this.#underWay.has(entry)) return;
				if (error && leavesOpen(error.code)) entry.unknownSince ??= began;
				this.#answered(entry, frame?.published, error);
			},
			this.#o.replyTimeout,
		);
	}

	#answered(entry: Entry, published: any, error?: RivuletError): void {
		if (published) {
			this.#failures = 0;
			this.#finish(entry, toPublished(entry.command.channel, published));
		} else if (error?.temporary) {
			this.#again(entry);
			if (this.#link?.isLost) return; // `lost` follows
			const wait = this.#o.wait(++this.#failures, error.retryAfterMs);
			this.#o.clock.clearTimeout(this.#pause);
			this.#pause = this.#o.clock.setTimeout(() => this.#resume(), wait);
		} else if (error && entry.unknownSince !== undefined) {
			this.#give(entry, error.message, error); // an earlier attempt may have been stored
		} else {
			this.#finish(entry, error ?? new RivuletError(4500, "a reply of another kind"));
		}
		this.#pump();
	}

	#again(entry: Entry): void {
		this.#underWay.delete(entry);
		if (!entry.done) this.#enqueue(entry);
	}

	/** Ends it without an answer. */
	#give(entry: Entry, why: string, cause?: unknown): void {
		if (this.#underWay.has(entry)) entry.unknownSince ??= 0;
		const open = entry.unknownSince !== undefined;
		this.#finish(entry, open ? new RivuletError(4504, why, { cause }) : unstored(why, cause));
	}

	#finish(entry: Entry, result: Published | RivuletError): void {
		if (entry.done) return;
		entry.done = true;
		this.#underWay.delete(entry);
		const at = this.#waiting.indexOf(entry);
		if (at >= 0) {
			this.#waiting.splice(at, 1);
			this.#size -= entry.size;
		}
		entry.settle(result);
	}
}

function unstored(why: string, cause?: unknown): RivuletError {
	return new RivuletError(4503, why, { cause });
}
