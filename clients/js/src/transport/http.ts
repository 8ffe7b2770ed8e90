// What the transports over HTTP share: a command is a request (PROTOCOL.md, section 9).

import { RivuletError } from "../errors.js";
import { read, spell, toText } from "../json.js";
import type {
	Frame,
	Transport,
	TransportEnd,
	TransportEvents,
	TransportOptions,
} from "../types.js";
import { Failure, problem } from "./answer.js";
import { type Follow, query, Subs } from "./follow.js";
import { Requests } from "./requests.js";

/** What is sent to a node in the name of a page: its commands, one request each. */
export class Http implements Transport {
	buffered = 0;
	readonly #events: TransportEvents;
	readonly #requests: Requests;
	readonly #subs: Subs;
	/** The last publish of each channel: the next one waits for it, to stay behind it. */
	readonly #publishes = new Map<string, Promise<void>>();
	/** The application was told that the token ends. */
	#warned = false;

	constructor(options: TransportOptions, events: TransportEvents, follow: Follow) {
		this.#events = events;
		this.#requests = new Requests(options, () => events.alive());
		this.#subs = new Subs(this.#requests, follow, {
			later: options.transports?.includes("websocket") ?? true,
			tell: (frame) => this.#tell(frame),
			work: (run) => this.#work(run),
			alive: () => events.alive(),
		});
		this.#work(async () => {
			await this.#hello(undefined, options.resume ? "&resume=1" : ""); // P-1.8
			this.#connected();
		});
	}

	send({ id, ...command }: Frame): void {
		const [name = "", c] = Object.entries(command)[0] ?? [];
		if (name !== "pong") this.#work(this.#does(name, c, id), id);
	}

	close(): void {
		this.#requests.close();
		this.#subs.close();
	}

	/** What a command does; what cannot be written is thrown at once. */
	#does(name: string, c: any, id?: number): () => Promise<unknown> {
		const reply = async (event: string, body: Promise<any>) =>
			this.#tell({ id: id as number, [event]: read(await body, event) });
		switch (name) {
			case "publish":
				return this.#publish(c, reply);
			case "subscribe":
				return () => this.#subs.subscribe(c, id);
			case "unsubscribe":
				return () => reply("unsubscribed", this.#subs.unsubscribe(c));
			case "history":
			case "presence": {
				const { channel, ...rest } = c;
				const what = name === "history" ? "messages" : name;
				return () => reply(name, this.#channel(channel, `${what}?${query(rest)}`));
			}
			case "refresh":
				return () => this.#refresh(c.token, id);
			case "ping":
				return () => this.#ping();
		}
		return async () => {
			throw new Failure({ code: 1006, reason: name }, problem(4422, "needs a WebSocket", name));
		};
	}

	#work(run: () => Promise<unknown>, id?: number): void {
		run().catch((e) => {
			if (this.#requests.closed) return;
			// Without a token that holds nothing goes on.
			if (id && e.error && e.end.status !== 401) this.#events.event({ id, error: e.error });
			else this.#end(e);
		});
	}

	#end(e: unknown): void {
		this.close();
		let end: TransportEnd = { code: 1006, reason: String(e) };
		if (e instanceof Failure) end = e.end;
		if (e instanceof RivuletError) end = { code: e.code, reason: e.message, garbled: true };
		// All but what the token is to blame for is worth a return.
		if (end.status)
			end = { ...end, code: 4000 + end.status, temporary: ![401, 403].includes(end.status) };
		this.#events.end(end);
	}

	#tell(frame: Frame): void {
		if (this.#requests.closed || (frame.expiring && this.#warned)) return;
		this.#warned ||= Boolean(frame.expiring);
		this.#events.event(frame);
	}

	/** Is the node there, and the token good? */
	#hello(token?: string, more = ""): Promise<unknown> {
		return this.#requests.ask(`/v1/poll?timeout=0${more}`, { token });
	}

	#connected(id?: number): void {
		this.#tell({ ...(id && { id }), connected: { client: "", node: "", ping_interval: 30 } });
	}

	async #ping(): Promise<void> {
		await this.#hello();
		this.#subs.revive(60_000); // after a sleep a stream may be dead without a sign
		this.#tell({ pong: {} });
	}

	async #refresh(token: string, id?: number): Promise<void> {
		try {
			await this.#hello(token); // the one before holds until this one does
		} catch (e) {
			if (!(e instanceof Failure && e.error)) throw e;
			return this.#tell({ id: id as number, error: e.error });
		}
		this.#requests.token = token;
		this.#warned = false;
		this.#subs.revive(-1);
		this.#connected(id);
	}

	#publish({ channel, ...message }: any, reply: (event: string, body: Promise<any>) => unknown) {
		const body = toText({ ...spell(message), exclude: undefined });
		const headers = { "content-type": "application/json" };
		const before = this.#publishes.get(channel);
		this.buffered += body.length;
		const run = async () => {
			await before;
			try {
				await reply(
					"published",
					this.#channel(channel, "messages", { method: "POST", body, headers }),
				);
			} finally {
				this.buffered -= body.length;
				if (this.#publishes.get(channel) === done) this.#publishes.delete(channel);
			}
		};
		const work = run();
		const done = work.then(
			() => {},
			() => {},
		);
		this.#publishes.set(channel, done);
		return () => work;
	}

	#channel(channel: string, what: string, init?: RequestInit): Promise<any> {
		return this.#requests.ask(`/v1/channels/${encodeURIComponent(channel)}/${what}`, init);
	}
}
