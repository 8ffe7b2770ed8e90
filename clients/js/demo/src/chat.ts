// Rooms: the one that is open by a subscription of its own, with history and presence; the
// others by one pattern, whose subscribers are members of none.

import type { Identity } from "./identity.js";
import {
	type Client,
	type Member,
	type Message,
	RivuletError,
	type Start,
	type Subscription,
	type Update,
} from "./sdk.js";
import { Store } from "./store.js";

/** As the README's curl example publishes it, and with a name. */
export interface ChatData {
	readonly text?: string;
	readonly name?: string;
}

export interface Line {
	readonly key: string;
	/** 0 while it is not stored. */
	readonly offset: number;
	readonly position: string;
	readonly time: number;
	readonly user: string;
	readonly name: string;
	readonly text: string;
	readonly status: "stored" | "sending" | "failed";
	readonly error?: string;
}

export interface Room {
	readonly lines: readonly Line[];
	/** There may be older ones. */
	readonly more: boolean;
	readonly loading: boolean;
	readonly unread: number;
}

export type Person = Member<{ name?: string }>;

export interface ChatState {
	readonly room: string;
	readonly rooms: Readonly<Record<string, Room>>;
	readonly members: readonly Person[];
	readonly clients: number;
	readonly users: number;
	/** Who came or went last, for people who do not see the list. */
	readonly news: string;
}

export const rooms = ["lobby", "engineering", "random"] as const;

const page = 30;
const mostLines = 500;
const askEvery = 3000;
const empty: Room = { lines: [], more: false, loading: false, unread: 0 };

export const nameOf = (m: Person): string =>
	m.info?.name ?? m.user ?? `guest ${m.client.slice(-4)}`;

function lineOf(m: Message<ChatData>): Line {
	const { text, name } = (m.data ?? {}) as ChatData;
	return {
		key: m.id ?? String(m.offset),
		offset: m.offset,
		position: m.position,
		time: m.time,
		user: m.user ?? "",
		name: typeof name === "string" && name ? name : (m.user ?? "somebody"),
		text: typeof text === "string" ? text : JSON.stringify(m.data ?? null),
		status: "stored",
	};
}

/** Stored lines in the order of the channel, then those that are on their way. */
function merge(old: readonly Line[], more: readonly Line[]): Line[] {
	const offsets = new Set(more.map((l) => l.offset));
	const keys = new Set(more.map((l) => l.key));
	const kept = old.filter((l) => (l.offset ? !offsets.has(l.offset) : !keys.has(l.key)));
	const all = [...kept, ...more];
	const stored = all.filter((l) => l.offset).sort((a, b) => a.offset - b.offset);
	return [...stored.slice(-mostLines), ...all.filter((l) => !l.offset)];
}

export class Chat {
	readonly state = new Store<ChatState>({
		room: rooms[0],
		rooms: {},
		members: [],
		clients: 0,
		users: 0,
		news: "",
	});
	readonly #client: Client;
	readonly #me: Identity;
	readonly #others: Subscription<ChatData>;
	readonly #positions = new Map<string, string>();
	#subscription: Subscription<ChatData> | undefined;
	#asking: ReturnType<typeof setInterval> | undefined;

	constructor(client: Client, me: Identity) {
		this.#client = client;
		this.#me = me;
		this.#others = client.channel<ChatData>("chat:>").subscribe(
			{},
			{
				message: (m: Message<ChatData>) => this.#elsewhere(m),
			},
		);
		this.#others.ready.catch(() => {}); // the state of the connection tells
		this.enter(rooms[0]);
	}

	/** Of another room. It is kept: what a connection has had does not come again on it. */
	#elsewhere(m: Message<ChatData>): void {
		const name = m.channel.slice("chat:".length);
		if (!(rooms as readonly string[]).includes(name) || name === this.state.value.room) return;
		this.#room(name, (r) => ({ unread: r.unread + 1, lines: merge(r.lines, [lineOf(m)]) }));
	}

	#room(name: string, change: (room: Room) => Partial<Room>): void {
		const all = this.state.value.rooms;
		const room = all[name] ?? empty;
		this.state.set({ rooms: { ...all, [name]: { ...room, ...change(room) } } });
	}

	/** Goes on where the room was left; what came meanwhile is replayed. */
	enter(name: string): void {
		this.#leave();
		this.state.set({ room: name, members: [], clients: 0, users: 0, news: "" });
		const position = this.#positions.get(name);
		const first = position === undefined;
		this.#room(name, (r) => ({ unread: 0, more: first || r.more }));
		this.#open(name, first ? { last: page } : { position }, true);
	}

	#open(name: string, start: Start, presence: boolean): void {
		const unable = (u: Update<ChatData>): boolean =>
			presence && u.type === "unsubscribed" && u.error?.code === 4422;
		this.#subscription = this.#client.channel<ChatData>(`chat:${name}`).subscribe(
			{ ...start, presence },
			{
				message: (m: Message<ChatData>) => {
					this.#room(name, (r) => ({ lines: merge(r.lines, [lineOf(m)]) }));
				},
				update: (u: Update<ChatData>) => {
					// Over HTTP nobody is told who comes and goes; it can be asked.
					if (unable(u) && name === this.state.value.room) this.#open(name, start, false);
					else this.#update(name, u);
				},
			},
		);
		this.#subscription.ready.catch(() => {}); // as above
		clearInterval(this.#asking);
		if (presence) return;
		this.#asking = setInterval(() => this.#ask(name), askEvery);
		this.#ask(name);
	}

	#ask(name: string): void {
		this.#client
			.channel(`chat:${name}`)
			.presence({ limit: 100 })
			.then(
				({ members, clients, users }) => {
					if (name !== this.state.value.room) return;
					this.#presence({
						type: "presence",
						members,
						clients,
						users,
						joined: [],
						left: [],
						partial: false,
					});
				},
				() => {}, // asked again
			);
	}

	#leave(): void {
		clearInterval(this.#asking);
		const { room } = this.state.value;
		const position = this.#subscription?.position;
		if (position !== undefined) this.#positions.set(room, position);
		this.#subscription?.unsubscribe().catch(() => {}); // gone either way
	}

	#update(room: string, u: Update<ChatData>): void {
		if (u.type === "presence") this.#presence(u);
		// Fewer than were asked for: there are no older ones.
		if (u.type === "caught_up") {
			this.#room(room, (r) => ({ more: r.more && r.lines.length >= page }));
		}
		if (u.type === "gap") this.#room(room, () => ({ lines: [], more: true }));
		if (u.type === "deleted") {
			this.#room(room, (r) => ({ lines: r.lines.filter((l) => l.offset !== u.offset) }));
		}
	}

	#presence(u: Extract<Update, { type: "presence" }>): void {
		const members = new Map(this.state.value.members.map((m) => [m.client, m]));
		if (u.members) members.clear();
		for (const m of [...(u.members ?? []), ...u.joined] as Person[]) members.set(m.client, m);
		for (const m of u.left) members.delete(m.client);
		const others = (list: readonly Member[]): string =>
			(list as Person[])
				.filter((m) => m.user !== this.#me.id)
				.map(nameOf)
				.join(", ");
		const [came, went] = [others(u.joined), others(u.left)];
		this.state.set({
			members: [...members.values()].sort((a, b) => a.since - b.since),
			clients: u.clients,
			users: u.users,
			news: came ? `${came} joined` : went ? `${went} left` : this.state.value.news,
		});
	}

	/** Publishes a line; without a connection it waits for one. */
	async send(text: string): Promise<void> {
		const { room } = this.state.value;
		const key = crypto.randomUUID();
		const { id: user, name } = this.#me;
		const line: Line = {
			key,
			offset: 0,
			position: "",
			time: Date.now(),
			user,
			name,
			text,
			status: "sending",
		};
		this.#room(room, (r) => ({ lines: [...r.lines, line] }));
		try {
			const channel = this.#client.channel<ChatData>(`chat:${room}`);
			await channel.publish({ text, name }, { idempotencyKey: key });
		} catch (error) {
			const why =
				error instanceof RivuletError ? `${error.message} ${error.advice}` : String(error);
			const failed = { ...line, status: "failed" as const, error: why };
			this.#room(room, (r) => ({
				lines: r.lines.map((l) => (l.key === key && !l.offset ? failed : l)),
			}));
		}
	}

	/** A page of older messages. */
	async earlier(): Promise<void> {
		const { room, rooms: all } = this.state.value;
		const oldest = all[room]?.lines.find((l) => l.offset);
		if (!oldest || all[room]?.loading) return;
		this.#room(room, () => ({ loading: true }));
		try {
			const channel = this.#client.channel<ChatData>(`chat:${room}`);
			const got = await channel.history({ before: oldest.position, limit: page, order: "desc" });
			this.#room(room, (r) => ({
				lines: merge(r.lines, got.messages.map(lineOf)),
				more: got.more && r.lines.length < mostLines,
			}));
		} catch {
			// Asked again by the same button.
		} finally {
			this.#room(room, () => ({ loading: false }));
		}
	}

	close(): void {
		clearInterval(this.#asking);
		this.#subscription?.unsubscribe().catch(() => {}); // gone either way
		this.#others.unsubscribe().catch(() => {}); // likewise
	}
}
