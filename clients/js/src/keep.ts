// How far the application is, where that is kept: in a storage across page loads, or at the node
// by a durable session.

import { Acks } from "./durable.js";
import { RivuletError } from "./errors.js";
import type { Host } from "./host.js";
import { wrong } from "./options.js";
import { Shelf } from "./storage.js";
import type { Handled } from "./stream.js";
import type { Sub } from "./subscription.js";
import type { Update } from "./types.js";

/** How long what was handled may wait to be saved and acknowledged, and how many of them. */
const settleAfter = 100;

/**
 * Whether nothing is missing of the positions from here on. Over HTTP a pattern may begin without
 * any, and those of its messages are of some streams only: the others would be lost.
 */
const isWhole = (pattern: boolean, type: Update["type"] | undefined, places: string[]) =>
	!!places[0] && (!pattern || type === "subscribed" || type === "caught_up");

/** What a subscription keeps. */
export class Keep {
	readonly #acks: Acks | undefined;
	readonly #host: Host;
	readonly #sub: Sub;
	readonly #shelf: Shelf | undefined;
	/** What was handled is all that a resume needs. */
	#whole = false;
	#unsettled = 0;
	#timer: unknown;

	constructor(host: Host, sub: Sub) {
		const { persist, durable } = sub.options;
		this.#host = host;
		this.#sub = sub;
		if (durable) this.#acks = new Acks();
		const { storage } = host;
		const tell = (error: RivuletError) => host.tell("error", error);
		if (persist && !storage) tell(wrong("persist", "nothing is kept without the option storage"));
		if (!persist || !storage) return;
		const name = persist === true ? sub.channel : persist;
		this.#shelf = new Shelf(storage, `${host.prefix}position:${name}`, (cause) =>
			tell(new RivuletError(4500, "storage failed", { cause })),
		);
	}

	/** Reads what was stored, and calls `then`; at once where nothing is. */
	load(then: () => void): void {
		if (this.#acks && !this.#host.options.session)
			return this.#sub.fail(wrong("durable", "needs the client's option session"));
		if (!this.#shelf) return then();
		void this.#shelf.load().then((text) => {
			this.#sub.stored = text ? text.split("\n") : [];
			then();
		});
	}

	/** See `Acks`. */
	get life(): number | undefined {
		return this.#acks?.life;
	}

	/** It has begun at the positions, for another time, or without what was before. */
	begun(recovered: boolean, again: boolean, positions: string[]): void {
		this.#acks?.begun(!recovered, positions);
		if (!again && recovered) this.#note("subscribed", positions);
	}

	#note(type: Update["type"] | undefined, places: string[]): void {
		this.#whole ||= isWhole(this.#sub.pattern, type, places);
	}

	/** The node has sent up to there. */
	came(positions: string[]): void {
		this.#acks?.came(positions);
	}

	/** What was handled before means nothing any more. */
	forget(): void {
		this.#acks?.forget();
	}

	/** Notes what the application has handled. */
	handled({ update, places, life }: Handled): void {
		this.#note(update?.type, places);
		if (update?.type !== "subscribed") this.#acks?.reached(places.at(-1), life);
		const { clock } = this.#host;
		if (++this.#unsettled >= settleAfter || this.#sub.state === "ended") this.settle();
		else this.#timer ??= clock.setTimeout(() => this.settle(), settleAfter);
	}

	/** Saves and acknowledges what was handled; the `last` time, whatever is under way. */
	settle(last?: boolean): void {
		this.#host.clock.clearTimeout(this.#timer);
		this.#timer = undefined;
		const whole = this.#whole || this.#sub.stored.length > 0;
		if (this.#unsettled > 0 && whole) this.#shelf?.save(this.#sub.positions.join("\n"));
		this.#unsettled = 0;
		this.acknowledge(last);
	}

	acknowledge(last?: boolean): void {
		const { state, at, channel } = this.#sub;
		const host = this.#host;
		if (state === "live" && at)
			this.#acks?.send(at.link, channel, host.wait, (e) => host.tell("error", e), last);
	}
}
