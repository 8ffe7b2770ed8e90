// Which transport to use: the first of the list that this network lets through.

import { bounded } from "./backoff.js";
import { Shelf } from "./storage.js";
import type { Clock, PositionStorage, TransportName } from "./types.js";

/** How long one that is not the first is preferred after it worked, in milliseconds. */
const remembered = 600_000;

/** What a choice needs of its client. */
export interface ChoiceHost {
	transports: readonly TransportName[];
	storage: PositionStorage | undefined;
	/** Of the keys in it. */
	prefix: string;
	fetch: typeof fetch | undefined;
	clock: Clock;
	/** What HTTP tells of a node that cannot be reached, for the next attempt's error. */
	hint: string;
	/** A node has enough clients: for so many milliseconds, 0 where it does not say, it takes none. */
	busy(retryAfterMs: number): void;
}

/** Goes on to the next transport where one is blocked. */
export class Choice {
	readonly #host: ChoiceHost;
	readonly #shelf: Shelf | undefined;
	#at = 0;
	/** That of the last attempt: the look at what came before it may have moved on meanwhile. */
	#tried = 0;
	/** How often it seemed blocked in a row, while HTTP got through. */
	#strikes = 0;
	#until = Number.POSITIVE_INFINITY;
	#probe: AbortController | undefined;

	constructor(host: ChoiceHost) {
		this.#host = host;
		const { storage, prefix, transports } = host;
		if (storage && transports.length > 1)
			this.#shelf = new Shelf(storage, `${prefix}transport`, () => {});
	}

	/** Takes up what was remembered, if it is of some use still; else `undefined`. */
	remember(): Promise<void> | undefined {
		return this.#shelf?.load().then((text) => {
			const [name, at] = text.split(" ");
			const age = Date.now() - Number(at); // by a clock that may have been set since
			const index = this.#host.transports.indexOf(name as TransportName);
			if (index > 0 && age >= 0 && age < remembered) this.#prefer(index, remembered - age);
		});
	}

	/** The one for the next attempt. */
	next(): TransportName {
		if (this.#host.clock.now() > this.#until) this.#prefer(0);
		this.#tried = this.#at;
		return this.#host.transports[this.#at] as TransportName;
	}

	/** It has connected. */
	worked(): void {
		this.#host.hint = "";
		if (this.#tried !== this.#at) return;
		this.#strikes = 0;
		if (this.#at > 0) {
			this.#prefer(this.#at, remembered);
			this.#shelf?.save(`${this.next()} ${Date.now()}`);
		} else {
			this.#shelf?.save("");
		}
	}

	/**
	 * An attempt has failed. Where HTTP gets through to a node that is well and the transport
	 * does not, twice in a row or after a long wait, the next is tried.
	 */
	failed(base: string, blocked = 0): void {
		if (!blocked || this.#host.transports.length < 2) return this.#notBlocked();
		this.#probe?.abort();
		const probe = new AbortController();
		this.#probe = probe;
		const at = this.#tried;
		if (at !== this.#at) return;
		void door(base, probe.signal, this.#host.fetch).then(({ code, data, text }) => {
			if (probe.signal.aborted || at !== this.#at) return;
			this.#host.hint = text;
			if (code === 429 || code === 503) this.#host.busy(bounded(data?.retry_after_ms));
			if (![200, 401, 403].includes(code)) return this.#notBlocked();
			this.#strikes += blocked;
			if (this.#strikes > 1) this.#prefer((at + 1) % this.#host.transports.length);
		});
	}

	/** Ends what is under way. */
	close(): void {
		this.#probe?.abort();
	}

	/** It was something else: one that never worked is no better than the first. */
	#notBlocked(): void {
		this.#strikes = 0;
		if (this.#until === Number.POSITIVE_INFINITY) this.#prefer(0);
	}

	#prefer(index: number, ms: number = Number.POSITIVE_INFINITY): void {
		this.#at = index;
		this.#strikes = 0;
		this.#until = this.#host.clock.now() + ms;
	}
}

/**
 * What a node says to who comes over HTTP; nothing where there is a portal in its place. One that
 * has enough clients refuses WebSockets too, which a browser cannot see. 401 and 403 are the token's.
 */
async function door(base: string, signal: AbortSignal, ask = globalThis.fetch): Promise<any> {
	try {
		const answer = await ask(`${base}/v1/poll?timeout=0`, { signal });
		const text = `: no node answers at ${base}/v1/poll, but HTTP ${answer.status}`;
		const said = await answer.json().catch(() => {});
		if (!said?.code || answer.status === 404) return { text };
		const there = [200, 401, 403].includes(said.code);
		return {
			...said,
			text: there ? `: ${base} answers over HTTP, but lets no WebSocket through` : "",
		};
	} catch (e) {
		const insecure = globalThis.location?.protocol === "https:" && base.startsWith("http:");
		const why = insecure ? "a page over https may not, give an address with https" : e;
		return { text: `: over HTTP nothing answers this page at ${base} either: ${why}` };
	}
}
