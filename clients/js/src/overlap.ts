// Subscriptions that match the same messages: whose each is (PROTOCOL.md, P-4.4, P-5.6, P-5.7),
// and who goes on with what one that was ended leaves behind.

import { takeOver } from "./brought.js";
import { logOf, offsetOf, Seen } from "./cursor.js";
import { Hold } from "./hold.js";
import type { Host } from "./host.js";
import { isPattern } from "./names.js";
import { mostDropped, type Routes } from "./routes.js";
import type { Sub } from "./subscription.js";
import type { Message } from "./types.js";

/** Namespace and segments; a namespace has no dot. */
const split = (channel: string): string[] => channel.replace(":", ".").split(".");

/** Whether the pattern covers the channel. */
export function matches(pattern: string, channel: string): boolean {
	const want = split(pattern);
	const have = split(channel);
	const deep = want.at(-1) === ">" && want.pop() !== undefined;
	return (
		(deep ? have.length > want.length : have.length === want.length) &&
		want.every((segment, i) => segment === have[i] || (i > 0 && segment === "*"))
	);
}

/** Whether both may match one message; of two patterns of one namespace it supposes so. */
export const overlaps = (a: string, b: string): boolean =>
	isPattern(a) && isPattern(b)
		? split(a)[0] === split(b)[0]
		: (isPattern(a) && matches(a, b)) || (isPattern(b) && matches(b, a));

/** The subscription whose cursor at the node delivered it: the channel's own, or a pattern. */
export function ownerOf(
	{ known, patterns }: Routes,
	channel: string,
	position: string,
	offset: number,
): Sub | undefined {
	let found = known.get(channel);
	if (found?.here?.before(position, offset)) return found;
	for (const p of patterns) {
		if (!matches(p.channel, channel)) continue;
		if (p.here?.before(position, offset)) return p;
		found ??= p;
	}
	return found;
}

/** What came, and what came before: a durable one is told repeats by its last, until it lacks some. */
class SeenSince extends Seen {
	readonly #before: Seen;

	constructor(before: Seen) {
		super();
		this.#before = before;
	}

	override has(message: Message): boolean {
		return super.has(message) || this.#before.has(message);
	}

	override forget(channel?: string): void {
		super.forget(channel);
		this.#before.forget(channel);
	}
}

/** Of how many messages it is known that the application has them, twice. */
const mostHad = 8192;

/** That a message came to a subscription. */
interface Note {
	readonly sub: Sub;
	/** The how manieth it was. */
	readonly at: number;
	/** Over HTTP, to each: that another had it is no proof for a channel's own. */
	readonly shared: boolean;
}

/**
 * Messages that the application has, and from which subscription: after a lost connection they may
 * come to another one. That one came after the last which it has had is no proof that it had all
 * before: who gets what changes with the order in which they begin.
 */
export class Had {
	/** How many there were. */
	count = 0;
	readonly #host: Host;
	#young = new Map<string, readonly Note[]>();
	#old = new Map<string, readonly Note[]>();
	/** What each had when this began to be kept. */
	readonly #before = new WeakMap<Sub, Seen>();
	/** Where each was asked for last, and as the how manieth. */
	readonly #asks = new WeakMap<Sub, { readonly routes: Routes; readonly at: number }>();
	#asked = 0;
	/** Durable ones that lack older messages than they have had: they are told repeats by message too. */
	readonly lacking = new WeakSet<Sub>();

	/** `late`: some may not have had all before the last that they had. */
	constructor(host: Host, late?: boolean) {
		this.#host = host;
		const early = [...(host.routes?.brought.values() ?? [])].some((b) => !b); // that was late
		for (const s of late || early ? [] : host.subs.values()) {
			this.#before.set(s, s.seen);
			s.seen = s.options.durable ? new SeenSince(s.seen) : new Seen();
		}
	}

	note(message: Message, sub: Sub): void {
		if (this.#young.size >= mostHad) {
			this.#old = this.#young;
			this.#young = new Map();
		}
		const one = { sub, at: ++this.count, shared: this.#host.apart };
		this.#young.set(key(message), [...this.#notes(message), one]);
	}

	/**
	 * Whether `sub` need not have it: it came to it, or to another when `sub` was there already. Over
	 * HTTP each has all of its own.
	 */
	has(message: Message, sub: Sub): boolean {
		const { apart } = this.#host;
		return (
			!!this.#before.get(sub)?.has(message) ||
			this.#notes(message).some(
				(n) => n.at > sub.born && (n.sub === sub || !(apart || (n.shared && !sub.pattern))),
			)
		);
	}

	/** `sub` is asked for. */
	asks(sub: Sub, routes: Routes): void {
		this.#asks.set(sub, { routes, at: ++this.#asked });
	}

	/** Whether `sub` was asked for when `other` was there already, on this link. */
	joined(sub: Sub, other: Sub, routes: Routes): boolean {
		const [mine, theirs] = [this.#asks.get(sub), this.#asks.get(other)];
		return mine?.routes === routes && theirs?.routes === routes && mine.at > theirs.at;
	}

	/** Takes back that it came to `sub`, the last time that it did. */
	undo(message: Message, sub: Sub): void {
		const notes = this.#notes(message);
		const at = notes.findLastIndex((n) => n.sub === sub);
		const rest = notes.filter((_, i) => i !== at);
		for (const map of [this.#young, this.#old])
			if (map.delete(key(message)) && rest[0]) map.set(key(message), rest);
	}

	#notes(message: Message): readonly Note[] {
		return this.#young.get(key(message)) ?? this.#old.get(key(message)) ?? [];
	}
}

const key = ({ channel, position, offset }: Message): string =>
	`${logOf(position)} ${offset} ${channel}`;

/**
 * Moves `sub` over a message that the application has, and reports whether it has. A durable one
 * acknowledges what it is given, and so gets it again, but for one that lacks some.
 */
export function passes({ had }: Host, sub: Sub, message: Message): boolean {
	if ((sub.options.durable && !had?.lacking.has(sub)) || !had?.has(message, sub)) return false;
	sub.passed(message.position);
	return true;
}

/** Whether it asks for history. */
const hasStart = ({ options: o, stored }: Sub): boolean =>
	(o.position ?? o.positions?.[0] ?? o.last ?? o.since ?? stored[0]) !== undefined;

/**
 * Whether history that `sub` asks for may be kept from it: what one that was ended has dropped
 * came by this link, and does not come again as long as another that overlaps is known (P-4.4).
 */
function mayLack({ known, patterns, dropped }: Routes, { channel }: Sub): boolean {
	const others = [...known.values(), ...patterns];
	return (
		(dropped.size >= mostDropped ||
			[...dropped].some((name) => name === channel || overlaps(name, channel))) &&
		others.some((other) => overlaps(other.channel, channel))
	);
}

/** Whether `sub`, about to begin, for the first time perhaps, has to wait for others. */
export function waits(host: Host, routes: Routes, sub: Sub, first: boolean): boolean {
	const seen = routes.brought.get(sub.channel);
	takeOver(host, routes);
	// When the node has let go of it, `sub` is asked for anew.
	if (!seen && routes.brought.get(sub.channel)?.leaving) return true;
	for (const hold of host.holds) if (hold.takes(sub)) return true;
	if (!first || sub.cleared || !hasStart(sub) || !mayLack(routes, sub)) {
		host.had?.asks(sub, routes);
		return false;
	}
	sub.cleared = true;
	new Hold(host, sub).begin(routes); // the node forgets what they had
	return true;
}

/** `cause` and all that overlap with it, directly or through others. */
export function overlapping(cause: Sub, all: Sub[]): Set<Sub> {
	const group = new Set([cause]);
	for (const member of group)
		for (const other of all) if (overlaps(member.channel, other.channel)) group.add(other);
	return group;
}

/**
 * Has `sub` go on from what the application has of `gone`, if that is behind, and from no place
 * before its own beginning. Reports whether it was behind.
 */
function goBack(sub: Sub, gone: Sub): boolean {
	const { received, since } = sub;
	let moved = false;
	for (const [stream, position] of received.last) {
		const low = since?.last.get(stream) ?? "";
		const log = logOf(position);
		// What was handled may be of the log before, or nothing; it may even have begun when it was
		// ended already.
		const high = [gone.handled, gone.since, gone.here]
			.map((places) => places?.last.get(stream) ?? "")
			.find((p) => logOf(p) === log);
		const aim = high && since?.before(high, offsetOf(high) || 0) ? high : low;
		if (!high || logOf(aim) !== log) continue;
		if ((offsetOf(aim) || 0) >= (offsetOf(position) || 0)) continue;
		received.last.set(stream, aim);
		moved = true;
	}
	if (moved) readsAgain(sub);
	return moved;
}

/** Whether it began here beyond where it goes on from: the node sends it nothing of before (P-4.4). */
const isBeyond = ({ here, received }: Sub): boolean =>
	!!here && received.list().some((p) => !here.before(p, (offsetOf(p) || 0) + 1));

/** Has what comes to it again be told by message, whoever had it. */
export function readsAgain(sub: Sub): void {
	if (sub.options.durable) return;
	sub.seen.forget();
	sub.born = 0;
}

/**
 * What came for one that was ended and did not reach the application, and what the node has not
 * sent it, is for those that overlap: they go back to where it was, if they were beyond that.
 * `known`: the node has let go of it here, and sends what it owed to others by itself; what came
 * does not come again on the link, unless all are let go of.
 */
export function inherit(host: Host, gone: Sub, known: boolean): void {
	if (!host.apart) passOn(host, gone, known); // else each has had all
	for (const hold of host.holds) hold.takeUp(); // some may have waited for it
}

function passOn(host: Host, gone: Sub, known: boolean): void {
	const { routes } = host;
	const subs = [...host.subs.values()].filter((s) => overlaps(s.channel, gone.channel));
	// A durable one that began after it is not told what it had, and cannot be let go of.
	const lacks = (s: Sub) => routes && s.options.durable && host.had?.joined(s, gone, routes);
	if (gone.missed && subs.some(lacks)) {
		for (const s of subs) {
			goBack(s, gone);
			if (!lacks(s)) continue;
			host.had?.lacking.add(s);
			s.seen = new Seen();
			s.born = 0;
		}
		return routes?.link.fail("a durable subscription reads again");
	}
	for (const s of subs) {
		// One whose subscribe is under way may begin when the node has forgotten what it owed.
		const asking = s.state === "subscribing";
		const again = (goBack(s, gone) && (asking || !known || isBeyond(s))) || gone.missed;
		if (again && (asking || s.state === "live") && routes && !routes.link.isLost)
			new Hold(host, s).begin(routes);
	}
}
