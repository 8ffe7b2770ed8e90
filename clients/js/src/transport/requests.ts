// Requests to a node.

import type { Clock, TransportOptions } from "../types.js";
import { checked, Failure, object, problem } from "./answer.js";

/** Milliseconds in which a request is answered. */
export const patience = 30_000;

/** A request, how many milliseconds it may take, and what stops it: its `onabort` is used. */
export interface Init extends Omit<RequestInit, "signal"> {
	ms?: number;
	until?: AbortSignal | undefined;
	/** In place of that of the others. */
	token?: string | undefined;
}

/** Takes an answer, and calls `begun` when it need not hurry any more. */
export type Read<T> = (r: Response, signal: AbortSignal, begun: () => void) => Promise<T>;

export class Requests {
	/** That of the requests from now on. */
	token: string | undefined;
	closed = false;
	readonly clock: Clock;
	readonly #base: string;
	readonly #fetch: TransportOptions["fetch"];
	readonly #alive: () => void;
	readonly #stops = new Set<AbortController>();

	constructor({ base, clock, fetch, token }: TransportOptions, alive: () => void) {
		this.clock = clock;
		this.#base = base;
		this.#fetch = fetch;
		this.#alive = alive;
		this.token = token;
	}

	/** Stops all of them. */
	close(): void {
		this.closed = true;
		for (const stop of this.#stops) stop.abort();
	}

	/** One request for an answer of the media type. */
	async request<T>(path: string, type: string, read: Read<T>, init: Init): Promise<T> {
		const { ms = patience, until, token = this.token, headers, ...rest } = init;
		if (this.closed || until?.aborted) throw new Failure({ code: 1006, reason: "closed" });
		const { clock } = this;
		const stop = new AbortController();
		const { signal } = stop;
		// No listener, of which a signal would keep all that it ever had.
		if (until) until.onabort = () => stop.abort();
		let late = false;
		const timer = clock.setTimeout(() => {
			late = true;
			stop.abort();
		}, ms);
		const begun = () => clock.clearTimeout(timer);
		this.#stops.add(stop);
		try {
			const send = this.#fetch ?? fetch; // which must not be called as a method
			const r = await send(this.#base + path, {
				...rest,
				headers: { ...headers, ...(token && { authorization: `Bearer ${token}` }) },
				signal,
				cache: "no-store",
				credentials: "omit",
				redirect: "manual",
			});
			return await read(await checked(r, type, signal), signal, begun);
		} catch (e) {
			const reason = "no answer in time";
			throw late ? new Failure({ code: 1006, reason }, problem(4408, reason)) : e;
		} finally {
			begun();
			this.#stops.delete(stop);
		}
	}

	/** The data of an answer in JSON. */
	async ask(path: string, init: Init = {}): Promise<any> {
		const { data } = await this.request(path, "application/json", object, init);
		this.#alive();
		return data;
	}
}
