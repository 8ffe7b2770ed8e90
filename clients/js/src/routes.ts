// Whose is what comes on a link (PROTOCOL.md, P-4.4, P-4.9, P-5.6, P-5.7).

import type { Brought } from "./brought.js";
import type { Link } from "./connection.js";
import { offsetOf, Places } from "./cursor.js";
import type { Host } from "./host.js";
import { more } from "./lazy.js";
import { toMessage } from "./message.js";
import { canonical, isPattern } from "./names.js";
import type { Sub } from "./subscription.js";
import type { Frame, Message } from "./types.js";

/** How many subscribes go out before their replies. */
const askAtOnce = 64;

/** How many names of subscriptions that were ended are known, before all names count as such. */
export const mostDropped = 64;

/** All subscriptions of a client by their full names, in the order of `subscribe`. */
export type Subs = Map<string, Sub>;

/** Channels first, then patterns. */
export function inOrder(subs: Iterable<Sub>): Sub[] {
	return [...subs].sort((a, b) => Number(a.pattern) - Number(b.pattern));
}

/** The subscriptions as the node knows them on one link. */
export class Routes {
	readonly link: Link;
	/** To channels that have begun here. */
	readonly known = new Map<string, Sub>();
	/** To patterns, in that order. */
	patterns: Sub[] = [];
	/** Those that were ended here, with what waited for the application. */
	readonly dropped = new Set<string>();
	/**
	 * By name, subscriptions that the token brought, which nobody asked for (P-17.4); `undefined`:
	 * before what sees to them was loaded.
	 */
	readonly brought = new Map<string, Brought | undefined>();
	readonly #host: Host;
	#todo: Sub[] = [];
	readonly #asked = new Set<Sub>();
	/** By name, those that nobody wants any more and the node has not let go of yet. */
	readonly #leaving = new Map<string, Sub>();

	constructor(link: Link, host: Host) {
		this.link = link;
		this.#host = host;
		host.apart = link.transport !== "websocket";
	}

	/** Asks for these, as soon as it is their turn. */
	add(subs: Iterable<Sub>): void {
		this.#todo.push(...subs);
		if (!this.link.isLost) this.#askMore(); // else the next link asks
	}

	/** The node has answered a subscribe. */
	answered(sub: Sub): void {
		this.#asked.delete(sub);
		this.#askMore();
	}

	/** Patterns wait for channels: until those begin, the node takes their messages for its own. */
	#askMore(): void {
		for (let sub = this.#todo[0]; sub && this.#asked.size < askAtOnce; sub = this.#todo[0]) {
			if (sub.pattern && [...this.#asked].some((s) => !s.pattern)) return;
			this.#todo.shift();
			if (this.#leaving.has(sub.channel) || this.#asked.has(sub)) continue;
			this.#asked.add(sub);
			if (!sub.ask(this)) this.#asked.delete(sub);
		}
	}

	/** `sub` has begun at the positions. */
	began(sub: Sub, positions: readonly string[]): void {
		sub.here = new Places(sub.pattern, positions);
		this.forget(sub);
		if (sub.pattern) this.patterns.push(sub);
		else this.known.set(sub.channel, sub);
		for (const b of this.brought.values()) b?.meet(sub, positions);
	}

	/** The node does not know `sub` any more. */
	forget(sub: Sub): void {
		if (this.known.get(sub.channel) === sub) this.known.delete(sub.channel);
		this.patterns = this.patterns.filter((p) => p !== sub);
	}

	/** Until `gone`, `sub` is in the way of another of its name. */
	leaving(sub: Sub): void {
		this.#leaving.set(sub.channel, sub);
		if (sub.state === "ended" && this.dropped.size < mostDropped) this.dropped.add(sub.channel);
	}

	/** The node has let go of what was `leaving`, or has refused it. */
	gone(sub: Sub): void {
		this.#asked.delete(sub);
		this.forget(sub);
		if (this.#leaving.get(sub.channel) === sub) this.#leaving.delete(sub.channel);
		const next = this.#host.subs.get(sub.channel);
		if (next && next !== sub) this.add([next]);
	}

	/** Unsubscribes; `then` is called when the node has confirmed, or the link is gone. */
	leave(sub: Sub, then?: () => void): void {
		this.leaving(sub);
		const gone = () => {
			this.gone(sub);
			if (sub.state === "ended") more?.inherit(this.#host, sub, !this.link.isLost);
			then?.();
		};
		this.link.call({ unsubscribe: { channel: sub.channel } }, gone, undefined, this.#host.wait);
	}

	/** Hands a push to whom it concerns. */
	push({ via, ...frame }: Frame): void {
		const [kind, e] = Object.entries(frame)[0] ?? [];
		const channel = canonical(e?.channel ?? "");
		const about = this.#host.subs.get(channel);
		switch (kind) {
			case "message":
				return this.#message(toMessage(e), via);
			case "caught_up":
				return about?.deliver({ type: kind }, e.positions ?? [e.position ?? ""]);
			case "position":
				return about?.passed(e.position);
			case "presence":
				return about?.deliver({ type: kind, joined: [], left: [], partial: false, ...e }, []);
			case "subscribed":
				if (more) new more.Brought(this.#host, this, channel);
				else this.brought.set(channel, undefined);
				return;
			case "unsubscribed":
				this.brought.get(channel)?.end();
				return about?.ended(this, e);
			case "gap":
			case "deleted": {
				// Of one channel of a pattern it comes as the pattern's messages do.
				const sub = isPattern(channel)
					? about
					: this.#owner(channel, e.position, offsetOf(e.position) || 0, via);
				return kind === "gap"
					? sub?.lost(channel, e.reason, e.position)
					: sub?.deliver({ type: kind, channel, offset: e.offset }, [e.position]);
			}
		}
	}

	#message(message: Message, via?: string): void {
		const sub = this.#owner(message.channel, message.position, message.offset, via);
		if (!sub) return;
		if (!more?.passes(this.#host, sub, message))
			sub.deliver({ type: "message", message }, [message.position]);
	}

	/** The subscription whose cursor at the node delivered it; `via` is its pattern over HTTP. */
	#owner(channel: string, position: string, offset: number, via?: string): Sub | undefined {
		if (via !== undefined) return this.#host.subs.get(via);
		if (this.#host.apart || !more) return this.known.get(channel);
		return more.ownerOf(this, channel, position, offset);
	}
}
