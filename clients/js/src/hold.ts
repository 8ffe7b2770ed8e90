// The pause of a subscription whose queue is full.

import type { Host } from "./host.js";
import { more } from "./lazy.js";
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

	constructor(host: Host, cause: Sub) {
		this.#host = host;
		this.#cause = cause;
		this.#members = more?.overlapping(cause, [...host.subs.values()]) ?? new Set([cause]);
		host.holds.add(this);
	}

	/** Lets go of them at the node. What still comes is dropped, and will be read again. */
	begin(routes: Routes): void {
		const known = [...this.#members].filter((m) => m.pause(this, routes));
		for (const m of known) m.letGo(routes);
		this.resume();
	}

	/** Takes `sub`, about to begin, along if it overlaps, and reports whether. */
	takes(sub: Sub): boolean {
		if (![...this.#members].some((m) => more?.overlaps(m.channel, sub.channel))) return false;
		this.#members.add(sub);
		sub.pause(this);
		return sub.heldBy(this);
	}

	/** Takes them up again once the node has let go of all and the cause has room. */
	resume(): void {
		const held = inOrder([...this.#members].filter((m) => m.heldBy(this)));
		if (!this.#cause.hasRoom || held.some((m) => !m.released)) return;
		if (!this.#host.holds.delete(this)) return;
		for (const m of held) m.unpause();
		this.#host.routes?.add(held);
	}
}
