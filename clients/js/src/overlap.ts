// Subscriptions that match the same messages: whose each is (PROTOCOL.md, P-4.4, P-5.6, P-5.7),
// and who goes on with what one that was ended leaves behind.

import { Places } from "./cursor.js";
import { Hold } from "./hold.js";
import { isPattern, matches, overlap } from "./names.js";
import { inOrder, type Routes } from "./routes.js";
import type { Host, Sub } from "./subscription.js";
import type { Message, Update } from "./types.js";

/** Where something stands in the log. */
export type Spot = Pick<Message, "channel" | "position" | "offset">;

const covers = (name: string, channel: string): boolean =>
	isPattern(name) ? matches(name, channel) : name === channel;

/** The subscription whose cursor at the node delivered it: the channel's own, or a pattern. */
export function ownerOf({ known, patterns }: Routes, spot: Spot): Sub | undefined {
	const { channel, position, offset } = spot;
	let found = known.get(channel);
	if (found?.here?.before(position, offset)) return found;
	for (const p of patterns) {
		if (!matches(p.channel, channel)) continue;
		if (p.here?.before(position, offset)) return p;
		found ??= p;
	}
	return found;
}

/** Whether another subscription has given it to the application over an earlier link. */
export function hadElsewhere(host: Host, sub: Sub, message: Message): boolean {
	for (const other of host.subs.values())
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
 * Those that get, in the place of one that was ended, what came for that and what the application
 * has not taken of it. Whoever leaves out others could not tell which; over HTTP each has had all.
 */
function heirs(host: Host, { channel, options }: Sub): Sub[] {
	const { filter, conflate } = options;
	const all = host.apart ? [] : [...host.subs.values()];
	return inOrder(
		all.filter(
			({ channel: other, options: o }) =>
				overlap(other, channel) && o.filter === filter && o.conflate === conflate,
		),
	);
}

/** The one that would have had it, if the one that was ended had never been. */
export const heirOf = (host: Host, gone: Sub, { channel, position, offset }: Spot) =>
	heirs(host, gone).find((s) => covers(s.channel, channel) && s.since?.before(position, offset));

/** Gives on the messages of `updates`. */
export function inherit(host: Host, gone: Sub, updates: Update<any>[]): void {
	if (updates.length < 1 || heirs(host, gone).length < 1) return;
	for (const u of updates)
		if (u.type === "message") heirOf(host, gone, u.message)?.deliver(undefined, u);
}

/**
 * What the node has not sent to one that was ended, and will not: those that overlap go back to
 * where that was, if they were beyond it. What they had already they leave out.
 */
export function goBack(host: Host, gone: Sub): void {
	const { routes } = host;
	for (const s of heirs(host, gone)) {
		if (!s.goBack(gone.received) || s.state !== "live") continue;
		if (routes && !routes.link.isLost) new Hold(host, s).begin(routes);
	}
}
