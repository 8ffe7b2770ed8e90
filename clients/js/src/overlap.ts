// Subscriptions that match the same messages: whose each is (PROTOCOL.md, P-4.4, P-5.6, P-5.7),
// and who goes on with what one that was ended leaves behind.

import { logOf, offsetOf, Places } from "./cursor.js";
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

const covers = (name: string, channel: string): boolean =>
	isPattern(name) ? matches(name, channel) : name === channel;

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

/** Of how many messages it is known that the application has them, twice. */
const mostHad = 8192;

/**
 * Messages that the application has, from whichever subscription: after a lost connection they may
 * come to another one. That one came after the last which it has had is no proof that it had all
 * before: who gets what changes with the order in which they begin.
 */
export class Had {
	/** How many there were. */
	count = 0;
	#young = new Map<string, number>();
	#old = new Map<string, number>();

	note(message: Message): void {
		if (this.#young.size >= mostHad) {
			this.#old = this.#young;
			this.#young = new Map();
		}
		this.#young.set(key(message), ++this.count);
	}

	/** Whether it came when there had been more than `born`. */
	has(message: Message, born: number): boolean {
		const at = this.#young.get(key(message)) ?? this.#old.get(key(message)) ?? 0;
		return at > born;
	}

	/** Takes it back. */
	undo(message: Message): void {
		for (const map of [this.#young, this.#old]) map.delete(key(message));
	}
}

const key = ({ channel, position, offset }: Message): string =>
	`${logOf(position)} ${offset} ${channel}`;

/**
 * Whether the node sent it for a subscription that the token brought: then it says nothing of
 * where others are.
 */
export const isBrought = ({ brought }: Routes, { channel, position, offset }: Message): boolean =>
	[...brought].some(
		([name, places]) => covers(name, channel) && new Places(true, places).before(position, offset),
	);

/**
 * Whether history that `sub` asks for may be kept from it: what one that was ended has dropped
 * came by this link, and does not come again as long as another that overlaps is known (P-4.4).
 */
export function mayLack({ known, patterns, dropped }: Routes, { channel }: Sub): boolean {
	const others = [...known.values(), ...patterns];
	return (
		(dropped.size >= mostDropped ||
			[...dropped].some((name) => name === channel || overlaps(name, channel))) &&
		others.some((other) => overlaps(other.channel, channel))
	);
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
function goBack({ received, since }: Sub, gone: Sub): boolean {
	let moved = false;
	for (const [stream, position] of received.last) {
		const low = since?.last.get(stream) ?? "";
		const high = gone.inbox.handled.last.get(stream) ?? "";
		const aim = low && since?.before(high, offsetOf(high) ?? 0) ? high : low;
		if (!high || logOf(aim) !== logOf(position)) continue;
		if ((offsetOf(aim) ?? 0) >= (offsetOf(position) ?? 0)) continue;
		received.last.set(stream, aim);
		moved = true;
	}
	return moved;
}

/**
 * What came for one that was ended and did not reach the application, and what the node has not
 * sent it, is for those that overlap: they go back to where it was, if they were beyond that.
 * `known`: the node has let go of it here, and sends what it owed to others by itself; what came
 * does not come again on the link, unless all are let go of.
 */
export function inherit(host: Host, gone: Sub, known: boolean): void {
	const { routes } = host;
	if (host.apart) return; // each has had all
	for (const s of [...host.subs.values()]) {
		if (!overlaps(s.channel, gone.channel)) continue;
		const asked = s.state === "subscribing"; // from where it was
		const again = (goBack(s, gone) && (!known || asked)) || gone.missed;
		if (!again || !(asked || s.state === "live") || !routes || routes.link.isLost) continue;
		new Hold(host, s).begin(routes);
	}
}
