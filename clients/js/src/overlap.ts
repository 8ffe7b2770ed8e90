// Subscriptions that match the same messages: whose each is (PROTOCOL.md, P-4.4, P-5.6, P-5.7),
// and who goes on with what one that was ended leaves behind.

import { Places } from "./cursor.js";
import { Hold } from "./hold.js";
import { isPattern, matches, overlap } from "./names.js";
import type { Routes } from "./routes.js";
import type { Host, Sub } from "./subscription.js";
import type { Message } from "./types.js";

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

/** Whether another subscription has given it to the application, over an earlier link or until it ended. */
export function hadElsewhere(host: Host, sub: Sub, message: Message): boolean {
	for (const other of [...sub.after, ...host.subs.values()])
		if (other !== sub && covers(other.channel, message.channel) && other.had(message)) return true;
	return false;
}

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
		[...dropped].some((name) => name === channel || overlap(name, channel)) &&
		others.some((other) => overlap(other.channel, channel))
	);
}

/** `cause` and all that overlap with it, directly or through others. */
export function overlapping(cause: Sub, all: Sub[]): Set<Sub> {
	const group = new Set([cause]);
	for (const member of group)
		for (const other of all) if (overlap(member.channel, other.channel)) group.add(other);
	return group;
}

/**
 * What came for one that was ended and did not reach the application, and what the node has not
 * sent it and will not, is for those that overlap: they go back to where it was, if they were
 * beyond that. `known`: the node has let go of it, and sends what it owed to others by itself.
 */
export function inherit(host: Host, gone: Sub, known: boolean): void {
	const { routes } = host;
	if (host.apart) return; // each has had all
	for (const s of [...host.subs.values()]) {
		if (!overlap(s.channel, gone.channel) || (known && !gone.missed)) continue;
		const again = s.goBack(gone) || gone.missed; // the link does not bring what it has brought
		if (!again || s.state !== "live") continue;
		if (routes && !routes.link.isLost) new Hold(host, s).begin(routes);
	}
}
