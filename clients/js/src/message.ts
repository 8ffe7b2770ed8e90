// From the protocol's names to the SDK's.

import { canonical } from "./names.js";
import type { HistoryPage, Member, Message, PresenceChange, PresencePage } from "./types.js";

/** The message of a `message` event. */
export function toMessage(m: any): Message<any> {
	return {
		channel: canonical(m.channel),
		offset: m.offset,
		position: m.position,
		time: m.time,
		data: m.data,
		...optional({
			bytes: m.data_binary,
			id: m.id,
			user: m.user,
			client: m.client,
			headers: m.headers,
			conflationKey: m.conflation_key,
			updates: m.updates,
		}),
	};
}

/** Without what is undefined. */
export function optional<O extends object>(fields: O): { [K in keyof O]?: NonNullable<O[K]> } {
	return Object.fromEntries(
		Object.entries(fields).filter(([, value]) => value !== undefined),
	) as never;
}

/** The page of a `history` event. */
export function toHistory(h: any): HistoryPage<any> {
	return {
		messages: h.messages.map(toMessage),
		position: h.position,
		more: h.more,
		recovered: h.recovered,
		...optional({ reason: h.reason as string | undefined }),
	};
}

/** A pushed `presence`. */
export function toPresence(p: any): PresenceChange {
	return {
		...optional({ members: p.members as readonly Member[] | undefined }),
		joined: p.joined ?? [],
		left: p.left ?? [],
		clients: p.clients,
		users: p.users,
		partial: p.partial ?? false,
	};
}

/** The page of a `presence` event. */
export function toPresencePage(p: any): PresencePage<any> {
	return {
		members: p.members ?? [],
		clients: p.clients,
		users: p.users,
		...optional({ next: p.next as string | undefined }),
		partial: p.partial ?? false,
	};
}
