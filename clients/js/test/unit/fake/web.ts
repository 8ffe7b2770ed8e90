// A node over HTTP, or whoever answers in its place.

import { json } from "../../../src/json.js";
import type { Frame, OpenTransport, Transport, TransportEnd } from "../../../src/types.js";
import { FakeClock, settled } from "./clock.js";

/** Answers a request, or never does. */
export type Answer = (url: URL, init: RequestInit) => Response | Promise<Response>;

/** An answer of a node. */
export const said = (data: unknown, status = 200, headers: Record<string, string> = {}): Response =>
	new Response(JSON.stringify({ code: status, message: "said", data }), {
		status,
		headers: { "content-type": "application/json", ...headers },
	});

/** What a poll brings; `position` is where it stands. */
export const polled = (position: string, messages: unknown[] = [], more = {}): Response =>
	said({ messages, position, recovered: true, more: false, ...more });

export const page = (status = 200): Response =>
	new Response("<html>Welcome to our Wi-Fi</html>", {
		status,
		headers: { "content-type": "text/html; charset=utf-8" },
	});

/** A body that is written as the test goes on. */
export class Stream {
	#controller: ReadableStreamDefaultController<Uint8Array> | undefined;
	cancelled = false;
	readonly response: Response;

	constructor(signal?: AbortSignal | null, type = "text/event-stream") {
		const body = new ReadableStream<Uint8Array>({
			start: (c) => {
				this.#controller = c;
			},
			cancel: () => {
				this.cancelled = true;
			},
		});
		signal?.addEventListener("abort", () => {
			if (this.cancelled) return;
			this.cancelled = true;
			this.#controller?.error(signal.reason);
		});
		this.response = new Response(body, { headers: { "content-type": type } });
	}

	write(text: string): void {
		if (!this.cancelled) this.#controller?.enqueue(new TextEncoder().encode(text));
	}

	event(name: string, data: object): void {
		this.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
	}

	message(channel: string, offset: number, data: unknown): void {
		this.write(`data: ${JSON.stringify(message(channel, offset, data))}\nid: x\n\n`);
	}

	end(): void {
		this.#controller?.close();
	}
}

export const at = (offset: number): string => `aaaaaZZZ-${offset.toString(36)}-0`;

export const message = (channel: string, offset: number, data: unknown): object => ({
	channel,
	offset,
	position: at(offset),
	time: 1,
	data,
});

/** A transport and what it has told, on a clock of the test's own. */
export class Told {
	readonly clock = new FakeClock();
	readonly frames: Frame[] = [];
	readonly ends: TransportEnd[] = [];
	readonly requests: { url: URL; init: RequestInit }[] = [];
	readonly transport: Transport;
	alive = 0;
	private id = 1;

	constructor(open: OpenTransport, answer: Answer, token?: string, resume = false) {
		const fetch = async (input: unknown, init: RequestInit = {}) => {
			const url = new URL(String(input));
			this.requests.push({ url, init });
			const aborted = new Promise<never>((_, reject) => {
				init.signal?.addEventListener("abort", () => reject(init.signal?.reason));
			});
			return Promise.race([answer(url, init), aborted]);
		};
		this.transport = open(
			{
				base: "http://node.example/rivulet",
				codec: json,
				resume,
				clock: this.clock,
				fetch: fetch as typeof globalThis.fetch,
				...(token && { token }),
			},
			{
				event: (frame) => {
					if (this.ends.length) throw new Error("an event after the end");
					this.frames.push(frame);
				},
				end: (end) => this.ends.push(end),
				alive: () => this.alive++,
			},
		);
	}

	/** Sends a command, lets what follows happen, and returns its reply, if there is one. */
	async call(command: Frame): Promise<Frame | undefined> {
		const id = ++this.id;
		this.transport.send({ id, ...command });
		await this.settle();
		return this.frames.find((f) => f.id === id);
	}

	/** Until nothing happens any more without time going by. */
	async settle(): Promise<this> {
		for (let i = 0; i < 20; i++) await settled();
		return this;
	}

	data(channel: string): unknown[] {
		return this.frames.filter((f) => f.message?.channel === channel).map((f) => f.message.data);
	}
}
