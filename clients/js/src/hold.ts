// The pause of a subscription whose queue is full.

import type { Host } from "./host.js";
import { overlapping, overlaps } from "./overlap.js";
import { inOrder, type Routes } from "./routes.js";
import type { Sub } from "./subscription.js";

/**
 * Those that overlap with it, directly or through others, pause too: while only one of them is
 * known to the node, it would get their common messages.
 */
export class Hold {
	readonly #host: Host;
	readonly #cause: Sub;
	readonly #members: Set<Sub>;
	readonly #waiting = new Set<Sub>();

	constructor(host: Host, cause: Sub) {
		this.#host = host;
		this.#cause = cause;
		this.#members = overlapping(cause, [...host.subs.values()]);
		host.holds.add(this);
	}

	/**
	 * Lets go of them at the node. What still comes is dropped, and will be read again: by a durable
	 * one that is asking on another connection only, which it gets, unless it is to do `without`.
	 */
	begin(routes: Routes, without?: boolean): void {
		const members = [...this.#members];
		const known = members.filter((m) => this.#pause(m, routes));
		if (!without && members.some((m) => m.options.durable && m.state === "subscribing"))
			return routes.link.fail("a durable subscription reads again");
		for (const m of known) letGo(m, routes);
		this.takeUp();
	}

	/**
	 * Takes `sub`, about to begin, along if it overlaps, and reports whether. A durable one waits only
	 * until the node has let go of all: it keeps from it what these had, also what was dropped.
	 */
	takes(sub: Sub): boolean {
		if (![...this.#members].some((m) => overlaps(m.channel, sub.channel))) return false;
		if (this.#isKnown && sub.options.durable) this.#waiting.add(sub);
		this.#members.add(sub);
		this.#pause(sub);
		return this.#has(sub) || this.#waiting.has(sub);
	}

	/** Takes them up again once the node has let go of all and the cause has room. */
	takeUp(): void {
		if (this.#isKnown) return;
		const held = this.#held;
		const waiting = [...this.#waiting];
		this.#waiting.clear();
		this.#host.routes?.add(waiting);
		// A durable one that is live goes on meanwhile: nobody tells when it has room.
		if (this.#has(this.#cause) && !this.#cause.hasRoom) return;
		if (!this.#host.holds.delete(this)) return;
		for (const m of held) {
			m.state = "idle";
			m.hold = m.at = undefined;
		}
		this.#host.routes?.add(held);
	}

	/** Whether the node knows some, or one that overlaps and was ended: that keeps back what it had. */
	get #isKnown(): boolean {
		const { known, patterns = [] } = this.#host.routes ?? {};
		const ended = [...(known?.values() ?? []), ...patterns].filter((o) => o.state === "ended");
		const members = [...this.#members];
		return (
			this.#held.some((m) => !m.released) ||
			ended.some((o) => members.some((m) => overlaps(m.channel, o.channel)))
		);
	}

	get #held(): Sub[] {
		return inOrder([...this.#members].filter((m) => this.#has(m)));
	}

	#has(sub: Sub): boolean {
		return sub.state === "paused" && sub.hold === this;
	}

	/** Reports whether the node knows it here. */
	#pause(sub: Sub, routes?: Routes): boolean {
		const { state } = sub;
		// The session would forget the place of a durable one. One that asks for others to be let go
		// of first waits for that.
		const stays = sub.options.durable && (state !== "idle" || sub !== this.#cause);
		if (state === "paused" || state === "ended" || stays) return false;
		sub.released = state === "idle"; // else the node confirms, or its answer brings the rest
		sub.state = "paused";
		sub.hold = this;
		return state === "live" && sub.at === routes;
	}
}

/** Unsubscribes what is paused. */
export const letGo = (sub: Sub, routes: Routes): void =>
	routes.leave(sub, () => {
		sub.released = true;
		sub.at = undefined;
		sub.hold?.takeUp();
	});
