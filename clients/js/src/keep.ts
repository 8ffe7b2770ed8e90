// How far the application is, where that is kept: in a storage across page loads, or at the node
// by a durable session.

import { Acks } from "./durable.js";
import { RivuletError } from "./errors.js";
import type { Host } from "./host.js";
import type { Handled } from "./inbox.js";
import { Shelf } from "./storage.js";
import type { Sub } from "./subscription.js";

/** How long what was handled may wait to be saved and acknowledged, and how many of them. */
const settleAfter = 100;

/** What a subscription keeps. */
export class Keep {
	readonly acks: Acks | undefined;
	/** Positions of an earlier page, until the node has refused them. */
	stored: string[] = [];
	readonly #host: Host;
	readonly #sub: Sub;
	readonly #shelf: Shelf | undefined;
	#unsettled = 0;
	#timer: unknown;

	constructor(host: Host, sub: Sub) {
		const { persist, durable } = sub.options;
		this.#host = host;
		this.#sub = sub;
		if (durable) this.acks = new Acks();
		if (!persist || !host.storage) return;
		const name = persist === true ? sub.channel : persist;
		this.#shelf = new Shelf(host.storage, `position:${name}`, (cause) =>
			host.tell("error", new RivuletError(4500, "storage failed", { cause })),
		);
	}

	/** Reads what was stored; `undefined` where nothing is. */
	load(): Promise<void> | undefined {
		return this.#shelf?.load().then((text) => {
			this.stored = text ? text.split("\n") : [];
		});
	}

	/** Notes what the application has handled. */
	handled({ update, places, life }: Handled): void {
		if (update?.type !== "subscribed") this.acks?.reached(places.at(-1), life);
		const { clock } = this.#host;
		if (++this.#unsettled >= settleAfter || this.#sub.state === "ended") this.settle();
		else this.#timer ??= clock.setTimeout(() => this.settle(), settleAfter);
	}

	/** Saves and acknowledges what was handled; the `last` time, whatever is under way. */
	settle(last?: boolean): void {
		this.#host.clock.clearTimeout(this.#timer);
		this.#timer = undefined;
		const whole = this.#sub.wholeHandled || this.stored.length > 0;
		if (this.#unsettled > 0 && whole) this.#shelf?.save(this.#sub.positions.join("\n"));
		this.#unsettled = 0;
		this.acknowledge(last);
	}

	acknowledge(last?: boolean): void {
		const { state, at, channel } = this.#sub;
		const { wait, tell } = this.#host;
		if (state === "live" && at)
			this.acks?.send(at.link, channel, wait, (error) => tell("error", error), last);
	}
}
