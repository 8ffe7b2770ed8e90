// The pause of a subscription whose queue is full.

import { overlap } from "./names.js";
import { inOrder, type Routes } from "./routes.js";
import type { Host, Sub } from "./subscription.js";

/**
 * Those that overlap with it, directly or through others, pause too: while only one of them is
 * known to the node, it would get their common messages.
 */
export class Hold {
	readonly #host: Host;
	readonly #cause: Sub;
	readonly #members: Sub[];

	/** Lets go of `cause` at the node. What still comes is dropped, and will be read again. */
	constructor(host: Host, routes: Routes, cause: Sub) {
		this.#host = host;
		this.#cause = cause;
		this.#members = inOrder(overlapping(cause, [...host.subs.values()]));
		const known = this.#members.filter((m) => m.pause(this, routes));
		for (const m of known) m.letGo(routes);
		this.resume();
	}

	/** Takes them up again once the node has let go of all and the cause has room. */
	resume(): void {
		if (!this.#cause.hasRoom || this.#members.some((m) => m.heldBy(this) && !m.released)) return;
		for (const m of this.#members) if (m.heldBy(this)) m.unpause();
		this.#host.routes?.add(this.#members);
	}
}

function overlapping(cause: Sub, all: Sub[]): Set<Sub> {
	const group = new Set([cause]);
	for (const member of group) {
		for (const other of all) if (overlap(member.channel, other.channel)) group.add(other);
	}
	return group;
}
