// Rooms: the one that is open by a subscription of its own, with history and presence; the
// others by one pattern, whose subscribers are members of none.

import type { Identity } from "./identity.js";
import {
	type Client,
	type Member,
	type Message,
	RivuletError,
	type Start,
	type StateChange,
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
	/** Of the publisher's token; empty where it had none. */
	readonly user: string;
	/** What the publisher calls itself, which nobody has checked. */
	readonly claimed: string;
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
	/** By user, as their tokens say, of all that were seen here. */
	readonly names: ReadonlyMap<string, string>;
	/** Who came or went last, for people who do not see the list. */
	readonly news: string;
}

export const rooms = ["lobby", "engineering", "random"] as const;

/** The longest text of a line, in UTF-16 code units; of others' more is cut off. */
export const longest = 2000;

const page = 30;
const mostLines = 500;
const mostNames = 1000;
const longestName = 64;
const askEvery = 3000;
const empty: Room = { lines: [], more: false, loading: false, unread: 0 };

const said = (name: unknown): string =>
	typeof name === "string" ? name.slice(0, longestName) : "";

export const nameOf = (m: Person): string =>
	said(m.info?.name) || m.user || `guest ${m.client.slice(-4)}`;

/** Anybody may publish anything: what is no line is shown as what it is, up to a length. */
export function lineOf(m: Message): Line {
	const { text, name } = (m.data ?? {}) as { text?: unknown; name?: unknown };
	const all = m.bytes ? `${m.bytes.length} bytes` : JSON.stringify(m.data ?? null);
	return {
		key: m.id ?? String(m.offset),
		offset: m.offset,
		position: m.position,
		time: m.time,
		user: m.user ?? "",
		claimed: said(name),
		text: (typeof text === "string" ? text : all).slice(0, longest),
		status: "stored",
	};
}

/**
 * Who has said it: what a token says stands before what a message says of itself, and without a
 * token anybody might say anything.
 */
export function speaker(line: Line, names: ReadonlyMap<string, string>): string {
	if (!line.user) return "somebody";
	return names.get(line.user) ?? (line.claimed || line.user);
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
		names: new Map(),
		news: "",
	});
	readonly #client: Client;
	readonly #me: Identity;
	readonly #others: Subscription<ChatData>;
	readonly #positions: Map<string, string>;
	readonly #off: () => void;
	#subscription: Subscription<ChatData> | undefined;
	/** What the open room began with. */
	#start: Start = {};
	#closed = false;
	/** The open room's subscription asks to be told who comes and goes. */
	#told = false;
	#tells = true;
	#asking: ReturnType<typeof setInterval> | undefined;

	/** It goes on where `before` was, and sends what waits there. */
	constructor(client: Client, me: Identity, before?: Chat) {
		this.#client = client;
		this.#me = me;
		const { room = rooms[0], rooms: all = {}, names = [] } = before?.state.value ?? {};
		this.state.set({ rooms: all, names: new Map([...names, [me.id, me.name]]) });
		this.#positions = new Map(before ? before.#positions : []);
		// Where a room was never open, nothing says where to go on: it begins with its last lines.
		for (const name of rooms) if (!this.#positions.has(name)) this.#forget(name);
		this.#others = client.channel<ChatData>("chat:>").subscribe(
			{},
			{
				message: (m: Message<ChatData>) => this.#elsewhere(m),
				update: (u: Update<ChatData>) => u.type === "gap" && this.#gapElsewhere(u.channel),
			},
		);
		this.#others.ready.catch(() => {}); // the state of the connection tells
		this.#off = client.on("state", (c: StateChange) => this.#connected(c));
		this.enter(room);
		for (const name of rooms) {
			for (const line of all[name]?.lines ?? [])
				if (line.status === "sending") this.#publish(name, line);
		}
	}

	get channel(): string {
		return `chat:${this.state.value.room}`;
	}

	/** The node has the open room subscribed, or had when the connection was lost. */
	get begun(): boolean {
		const { state } = this.#subscription ?? {};
		return state === "live" || state === "paused";
	}

	/**
	 * What a connection has had does not come again on it: what comes by the pattern is kept, also of
	 * the room that was just entered, whose own subscription is on its way.
	 */
	#elsewhere(m: Message<ChatData>): void {
		const name = m.channel.slice("chat:".length);
		if (!(rooms as readonly string[]).includes(name)) return;
		const unread = name === this.state.value.room ? 0 : 1;
		this.#room(name, (r) => ({
			unread: r.unread + unread,
			lines: merge(r.lines, [lineOf(m)]),
		}));
	}

	/** Lines before a gap would look as if those after it came next. */
	#gapElsewhere(channel: string): void {
		for (const name of rooms) {
			const concerned = channel === "chat:>" || channel === `chat:${name}`;
			if (concerned && name !== this.state.value.room) this.#forget(name);
		}
	}

	#forget(name: string): void {
		this.#room(name, (r) => ({ lines: r.lines.filter((l) => !l.offset), more: true }));
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
		this.#open(name, first ? { last: page } : { position });
	}

	#open(name: string, start: Start): void {
		this.#start = start;
		this.#told = this.#tells;
		this.#subscription = this.#client.channel<ChatData>(`chat:${name}`).subscribe(
			{ ...start, presence: this.#told },
			{
				message: (m: Message<ChatData>) => {
					this.#room(name, (r) => ({ lines: merge(r.lines, [lineOf(m)]) }));
				},
				update: (u: Update<ChatData>) => this.#update(name, u),
			},
		);
		this.#subscription.ready.catch(() => {}); // as above
		clearInterval(this.#asking);
		if (this.#told) return;
		this.#asking = setInterval(() => this.#ask(name), askEvery);
		this.#ask(name);
	}

	/** Over HTTP nobody is told who comes and goes; it can be asked. */
	#connected({ state, transport }: StateChange): void {
		if (state !== "connected") return;
		this.#tells = transport === "websocket";
		if (this.#tells !== this.#told) this.#reopen();
	}

	/** Opens the room anew, where it is. */
	#reopen(): void {
		const position = this.#subscription?.position;
		this.#subscription?.unsubscribe().catch(() => {}); // gone either way
		this.#open(this.state.value.room, position === undefined ? this.#start : { position });
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
		if (u.type === "unsubscribed" && u.error?.code === 4422 && this.#told) {
			this.#tells = false; // until the next connection
			this.#reopen();
		}
		// Fewer than were asked for: there are no older ones.
		if (u.type === "caught_up") {
			this.#room(room, (r) => ({ more: r.more && r.lines.length >= page }));
		}
		if (u.type === "gap") this.#forget(room);
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
		const names = new Map(this.state.value.names);
		for (const m of members.values()) if (m.user) names.set(m.user, nameOf(m));
		this.state.set({
			names: new Map([...names].slice(-mostNames)),
			members: [...members.values()].sort((a, b) => a.since - b.since),
			clients: u.clients,
			users: u.users,
			news: came ? `${came} joined` : went ? `${went} left` : this.state.value.news,
		});
	}

	/** Publishes a line; without a connection it waits for one. */
	async send(text: string): Promise<void> {
		const { room } = this.state.value;
		const { id: user, name } = this.#me;
		const line: Line = {
			key: crypto.randomUUID(),
			offset: 0,
			position: "",
			time: Date.now(),
			user,
			claimed: name,
			text,
			status: "sending",
		};
		this.#room(room, (r) => ({ lines: [...r.lines, line] }));
		await this.#publish(room, line);
	}

	/** The same once more: what is stored already is not stored again. */
	retry(line: Line): void {
		const { room } = this.state.value;
		const again = { ...line, status: "sending" as const };
		this.#room(room, (r) => ({ lines: r.lines.map((l) => (l.key === line.key ? again : l)) }));
		this.#publish(room, again);
	}

	async #publish(room: string, line: Line): Promise<void> {
		const { key, text, claimed: name } = line;
		try {
			const channel = this.#client.channel<ChatData>(`chat:${room}`);
			await channel.publish({ text, name }, { idempotencyKey: key });
		} catch (error) {
			if (this.#closed) return; // who takes its place sends it
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
		this.#closed = true;
		this.#off();
		this.#leave();
		this.#others.unsubscribe().catch(() => {}); // likewise
	}
}
