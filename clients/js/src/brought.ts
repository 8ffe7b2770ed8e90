// Subscriptions that the token names and nobody asked for (PROTOCOL.md, P-17.4).

import { logOf, Places } from "./cursor.js";
import type { RivuletError } from "./errors.js";
import { Hold } from "./hold.js";
import type { Host } from "./host.js";
import { Had, overlaps, readsAgain } from "./overlap.js";
import type { Routes } from "./routes.js";
import type { Sub } from "./subscription.js";

/**
 * One that overlaps with ours is let go of: it takes messages from them (P-4.4), before they have
 * begun and while they are paused too, and nobody knows where it is.
 */
export class Brought {
	/** Where ours that overlap were when it was not there: they go back to that. */
	readonly #back = new Map<Sub, string[]>();
	readonly #host: Host;
	readonly #routes: Routes;
	readonly #name: string;
	/** It is being let go of: one of its name is asked for after that. */
	leaving = false;
	/** Some of ours that overlap have begun. */
	#met = false;

	/** `late`: messages may have come since it has begun. */
	constructor(host: Host, routes: Routes, name: string, late?: boolean) {
		this.#host = host;
		this.#routes = routes;
		this.#name = name;
		routes.brought.set(name, this);
		host.had ??= new Had(host, late);
		for (const s of host.subs.values())
			this.meet(s, ((late && s.at === routes && s.here) || s.received).list());
	}

	/** `sub` is at the positions, or has just begun there. */
	meet(sub: Sub, positions: readonly string[]): void {
		const name = this.#name;
		if (name === sub.channel || !overlaps(name, sub.channel)) return;
		if (!this.#back.has(sub) && positions[0]) this.#back.set(sub, [...positions]);
		this.#met = true;
		const own = this.#host.subs.get(name);
		const asked = own?.state === "subscribing" || (own?.state === "paused" && !own.released);
		if (!asked || own?.asking) this.#leave(own); // else its answer tells
	}

	/** `own`, of its name, is asked for after that. */
	#leave(own?: Sub): void {
		if (this.leaving) return;
		this.leaving = true;
		const routes = this.#routes;
		routes.leave({ channel: this.#name } as Sub, () => this.end());
		if (!own?.asking || own.state !== "subscribing") return;
		own.state = "idle";
		own.at = undefined;
		routes.answered(own);
	}

	/**
	 * Another of its name has taken its place, the node has let go of it, or the link is lost: what
	 * it had, or owed, is for ours. Where that other was `refused` it goes on.
	 */
	end(refused?: RivuletError): void {
		const [host, routes] = [this.#host, this.#routes];
		if (routes.brought.get(this.#name) !== this) return;
		if (refused && !routes.link.isLost) {
			if (this.#met) this.#leave();
			return;
		}
		routes.brought.delete(this.#name);
		for (const [sub, positions] of this.#back) {
			const { received } = sub;
			for (const [stream, position] of new Places(true, positions).last) {
				const now = received.last.get(stream) ?? "";
				if (logOf(now) === logOf(position)) received.last.set(stream, position);
			}
			readsAgain(sub);
		}
		for (const s of this.#back.keys()) {
			const asked = s.state === "live" || s.state === "subscribing";
			// The token brings it again on each connection: another one is of no use.
			if (asked && s.at === routes && !routes.link.isLost) new Hold(host, s).begin(routes, true);
		}
	}
}

/** Sees to those that were there before this was loaded. */
export function takeOver(host: Host, routes: Routes): void {
	for (const [name, brought] of routes.brought) {
		if (brought) continue;
		if (routes.known.has(name))
			routes.brought.delete(name); // that one has taken its place
		else new Brought(host, routes, name, true);
	}
}
