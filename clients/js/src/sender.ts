// Sends commands, and sends them again until they are answered: publishes, each stored once, in
// the order of the calls, and questions.

import type { Link } from "./connection.js";
import { RivuletError, temporary } from "./errors.js";
import { checkFields, checkFrame } from "./known.js";
import { toMessage } from "./message.js";
import type { Entry, Queue } from "./queue.js";

/** How many may be unanswered at once, and how many bytes unsent, before others wait. */
const mostUnderWay = 4096;
/** Over HTTP each is a request of its own, and one channel's follow each other. */
const mostRequests = 4;
const mostUnsent = 1 << 20;
/** A node's window of idempotency, 120 s, but the last eighth, in which a message may arrive. */
const window = 105_000;

/** Whether a publish that was answered so may have been stored all the same (P-3.6). */
export const leavesOpen = (code: number): boolean =>
	code !== 4429 && code !== 4503 && temporary(code);

/** A random key; `crypto.randomUUID` is for pages over https alone. */
const newKey = (): string =>
	crypto.getRandomValues(new Uint32Array(4)).reduce((key, n) => key + n.toString(36), "");

/** What is sent, the same every time. Throws 4400. */
function bodyOf({ kind, text, bytes }: Entry): any {
	const body = JSON.parse(text);
	checkFields(kind, body);
	checkFrame(text, body);
	if (kind === "publish") body.idempotency_key ??= newKey();
	return bytes ? { ...body, data_binary: bytes } : body;
}

/** The answer in the names of the SDK. */
const results: Record<Entry["kind"], (answer: any) => unknown> = {
	publish: ({ deliver_at: deliverAt, ...p }) => (deliverAt ? { ...p, deliverAt } : p),
	history: ({ messages = [], ...h }) => ({ ...h, messages: messages.map(toMessage) }),
	presence: (page) => ({ members: [], partial: false, ...page }),
};

/** Sends what waits in a queue. */
export class Sender {
	/** Until it is over nothing is sent. */
	pause: unknown;
	readonly #queue: Queue;
	#failures = 0;
	/** That one was refused twice. */
	#told = false;

	constructor(queue: Queue) {
		this.#queue = queue;
	}

	/** Sends as much as there is room for. */
	pump(): void {
		const { link, waiting, underWay, host } = this.#queue;
		const most = link?.transport === "websocket" ? mostUnderWay : mostRequests;
		while (link?.isUp && this.pause === undefined && waiting.length > 0) {
			const full = underWay.size >= most || link.buffered > mostUnsent;
			if (full && underWay.size > 0) return;
			const entry = this.#queue.take(0);
			const { since } = entry;
			if (since !== undefined && host.clock.now() - since > window)
				this.#queue.give(entry, "its key has expired");
			else this.#send(link, entry);
		}
	}

	#send(link: Link, entry: Entry): void {
		const { host, underWay, replyTimeout } = this.#queue;
		const { kind } = entry;
		const began = host.clock.now();
		try {
			entry.body ??= bodyOf(entry);
		} catch (e) {
			return entry.settle(0, e as RivuletError);
		}
		underWay.add(entry);
		link.call(
			{ [kind]: entry.excludeSelf ? { ...entry.body, exclude: link.client } : entry.body },
			(frame, error) => {
				if (!underWay.delete(entry)) return;
				const open = error && kind === "publish" && leavesOpen(error.code);
				if (open) entry.since ??= began;
				if (error?.temporary) return this.#again(entry, link, error);
				const answer = frame?.[kind === "publish" ? "published" : kind];
				if (answer) {
					this.#failures = 0;
					this.#told = false;
				} else if (!error) error = new RivuletError(4500, "a reply of another kind");
				if (error && entry.since !== undefined) this.#queue.give(entry, error.message, error);
				else entry.settle(answer && results[kind](answer), error);
				this.pump();
			},
			replyTimeout,
		);
	}

	/** Later, and before what was called later. */
	#again(entry: Entry, link: Link, error: RivuletError): void {
		const { host, waiting } = this.#queue;
		const after = waiting.findLastIndex((other) => other.order < entry.order);
		this.#queue.put(entry, after + 1);
		if (link.isLost) return; // the next one sends it
		if (entry.said && !this.#told) {
			this.#told = true;
			host.tell("error", error);
		}
		entry.said = error;
		entry.late = `timed out: ${error.message}`;
		host.clock.clearTimeout(this.pause);
		const wait = host.wait(++this.#failures, error.retryAfterMs);
		this.pause = host.clock.setTimeout(() => {
			this.pause = undefined;
			this.pump();
		}, wait);
	}
}
