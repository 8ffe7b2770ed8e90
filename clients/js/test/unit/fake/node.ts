// A node in memory, to the letter of PROTOCOL.md, sections 3 to 5: what a client is held against.

import { matches } from "../../../src/overlap.js";
import type { Frame } from "../../../src/types.js";
import type { FakeClock } from "./clock.js";
import type { FakeSocket, Network } from "./socket.js";

interface Entry {
	seq: number;
	channel: string;
	data: unknown;
	id?: string;
}

/** A log that several channels share; offsets are places in it. */
class Stream {
	entries: Entry[] = [];
	last = 0;
	/** Everything up to here is gone. */
	trimmed = 0;
	epoch = 1;

	constructor(readonly key: string) {}

	position(seq: number): string {
		return `${this.key}${String(this.epoch).padStart(3, "0")}-${seq.toString(36)}-zz`;
	}

	/** The offset of a position of this very log; `undefined` of another one. */
	offset(position: string): number | undefined {
		const [head = "", digits = ""] = position.split("-");
		return head === this.position(0).split("-")[0] ? Number.parseInt(digits, 36) : undefined;
	}

	after(seq: number): Entry | undefined {
		return this.entries.find((e) => e.seq > seq);
	}
}

interface Cursor {
	stream: Stream;
	start: number;
	at: number;
	epoch: number;
}

interface Sub {
	channel: string;
	pattern: boolean;
	cursors: Cursor[];
	/** What it has delivered, and what it must not, for others have. */
	delivered: Set<Entry>;
	skip: Set<Entry>;
	/** It asked for history and has not been told that it caught up. */
	behind: boolean;
}

class Connection {
	/** In the order in which they began. */
	subs: Sub[] = [];
	/** Whose turn it is. */
	turn = 0;
	/** Of these, what its token named. */
	readonly brought = new Set<string>();

	constructor(readonly socket: FakeSocket) {}
}

const streams = 2;

/** The node. It delivers one thing at each `step`. */
export class FakeNode {
	readonly connections = new Set<Connection>();
	readonly streams = Array.from({ length: streams }, (_, i) => new Stream(`s${i}AAA`));
	/** Refuses the next so many commands for a while. */
	refuse = 0;
	/** Stores the next so many publishes, and answers none of them. */
	mute = 0;
	/** What each connection is subscribed to by its token (P-17.4). */
	brings: string[] = [];
	/** By channel, the place of the durable session. */
	readonly acked = new Map<string, string>();
	/** Nobody lets WebSockets through. */
	blocked = false;
	readonly #keys = new Map<string, object>();
	readonly #clock: FakeClock;
	#names = 0;

	constructor(network: Network, clock: FakeClock) {
		this.#clock = clock;
		network.onSocket = (socket) => clock.setTimeout(() => this.#accept(socket), 5);
	}

	/** Stores a message. */
	publish(channel: string, data: unknown, id?: string): Entry {
		const stream = this.streamOf(channel);
		const entry = { seq: ++stream.last, channel, data, ...(id && { id }) };
		stream.entries.push(entry);
		return entry;
	}

	streamOf(channel: string): Stream {
		return this.streams[channel.charCodeAt(channel.length - 1) % streams] as Stream;
	}

	/** Drops the oldest of a stream, all but so many. */
	trim(index: number, keep: number): void {
		const stream = this.streams[index] as Stream;
		const gone = stream.entries.splice(0, Math.max(stream.entries.length - keep, 0));
		stream.trimmed = gone.at(-1)?.seq ?? stream.trimmed;
	}

	/** The log begins anew. */
	reset(index: number): void {
		const stream = this.streams[index] as Stream;
		Object.assign(stream, { entries: [], last: 0, trimmed: 0, epoch: stream.epoch + 1 });
	}

	/** Ends all connections. */
	cut(code = 1006): void {
		for (const { socket } of this.connections) socket.drop(code);
		this.connections.clear();
	}

	/** Delivers what is next on each connection; reports whether there was anything. */
	step(): boolean {
		let any = false;
		for (const connection of [...this.connections]) any = this.#deliver(connection) || any;
		return any;
	}

	#accept(socket: FakeSocket): void {
		if (socket.readyState !== 0) return;
		if (this.blocked) return socket.drop();
		const connection = new Connection(socket);
		socket.onCommand = (frame) => this.#clock.setTimeout(() => this.#command(connection, frame), 2);
		socket.onClosed = () => this.connections.delete(connection);
		this.connections.add(connection);
		socket.open();
	}

	#command(c: Connection, frame: Frame): void {
		if (!this.connections.has(c)) return;
		const { id } = frame;
		const reply = (event: object) => c.socket.push({ ...(id !== undefined && { id }), ...event });
		if (frame.connect) {
			const client = `c${++this.#names}`;
			const { session } = frame.connect;
			reply({ connected: { client, node: "n", ping_interval: 25, session } });
			for (const channel of this.brings) {
				c.socket.push(this.#subscribe(c, { channel }));
				c.brought.add(channel);
			}
			return;
		}
		if (frame.ping) return reply({ pong: {} });
		if (this.refuse > 0) {
			this.refuse--;
			reply({ error: { code: 4503, message: "later", temporary: true, retry_after_ms: 3 } });
			return this.#inVain(c, frame.subscribe?.channel);
		}
		if (frame.subscribe) return reply(this.#subscribe(c, frame.subscribe));
		if (frame.unsubscribe) return reply(this.#unsubscribe(c, frame.unsubscribe.channel));
		if (frame.ack) return reply(this.#ack(c, frame.ack));
		if (frame.publish) {
			const published = this.#publish(frame.publish);
			if (this.mute > 0) this.mute--;
			else reply({ published });
		}
	}

	/** A subscribe that is refused may be the end of what the token named, or not (P-17.4). */
	#inVain(c: Connection, channel: string): void {
		if (this.refuse % 2 === 0 || !c.brought.has(channel)) return;
		this.#unsubscribe(c, channel);
		c.socket.push({ unsubscribed: { channel, code: 4600, reason: "in vain" } });
	}

	#publish({ channel, data, idempotency_key: key }: any): object {
		const had = this.#keys.get(key);
		if (had) return { ...had, duplicate: true };
		const { seq } = this.publish(channel, data, key);
		const position = this.streamOf(channel).position(seq);
		const published = { channel, offset: seq, position, time: 1, duplicate: false };
		this.#keys.set(key, published);
		return published;
	}

	/** Up to where a session has acknowledged; never beyond what this connection was sent (P-12.6). */
	#ack(c: Connection, { channel, position }: any): object {
		const [cursor] = c.subs.find((s) => s.channel === channel)?.cursors ?? [];
		const at = cursor?.stream.offset(position);
		if (!cursor || at === undefined || at > cursor.at)
			return { error: { code: 4400, message: "beyond", field: "position", temporary: false } };
		const before = cursor.stream.offset(this.acked.get(channel) ?? "") ?? -1;
		if (at > before) this.acked.set(channel, position);
		return { acked: { channel, position: this.acked.get(channel) } };
	}

	#unsubscribe(c: Connection, channel: string): object {
		this.acked.delete(channel);
		c.brought.delete(channel);
		const gone = c.subs.find((s) => s.channel === channel);
		const others = c.subs.filter((s) => s !== gone);
		for (const other of others) if (gone && other.pattern) this.#takeOver(c, other, gone);
		c.subs = others;
		return { unsubscribed: { channel } };
	}

	/** A pattern leaves out what one that ends had, and delivers what that one owed. */
	#takeOver(c: Connection, to: Sub, from: Sub): void {
		for (const entry of from.delivered) to.skip.add(entry);
		for (const cursor of to.cursors) {
			const { stream } = cursor;
			const theirs = from.cursors.find((other) => other.stream === stream);
			for (const e of stream.entries) {
				const owed = !from.delivered.has(e) && !from.skip.has(e);
				if (owed && owner(c, stream, e) === from) to.skip.delete(e);
			}
			if (!theirs || theirs.at >= cursor.at) continue;
			for (const e of stream.entries) {
				const between = e.seq > theirs.at && e.seq <= cursor.at;
				if (between && owner(c, stream, e) !== from) to.skip.add(e);
			}
			cursor.at = theirs.at;
		}
	}

	#subscribe(c: Connection, ask: any): object {
		const { channel } = ask;
		if (c.brought.has(channel)) this.#unsubscribe(c, channel); // its place is taken
		if (c.subs.some((s) => s.channel === channel)) {
			return { error: { code: 4409, message: "twice", temporary: false, retry_after_ms: 0 } };
		}
		const pattern = /[*>]/.test(channel);
		const kept = ask.durable ? this.acked.get(channel) : undefined;
		const resumed = kept !== undefined;
		const asked: string[] = resumed
			? [kept]
			: (ask.positions ?? (ask.position ? [ask.position] : []));
		let reason = "";
		const cursors = this.streamsOf(channel).map((stream) => {
			const position = asked.find((p) => p.startsWith(stream.key));
			let at = position === undefined ? stream.last : stream.offset(position);
			if (at === undefined) [at, reason] = [0, "log_changed"];
			else if (at < stream.trimmed) [at, reason] = [stream.trimmed, "retention"];
			if (ask.last && !resumed) at = this.#before(stream, channel, ask.last);
			return { stream, start: at, at, epoch: stream.epoch };
		});
		const behind = asked.length > 0 || ask.last !== undefined;
		const had = c.subs.filter((s) => !pattern && s.pattern && covers(s.channel, channel));
		const skip = new Set(had.flatMap((s) => [...s.delivered]));
		c.subs.push({ channel, pattern, cursors, behind, delivered: new Set(), skip });
		const where = cursors.map(({ stream, at }) => stream.position(at));
		const places = pattern ? { positions: where } : { position: where[0] };
		if (ask.durable && !resumed) this.acked.set(channel, where[0] as string);
		const durable = ask.durable && { durable: true, resumed };
		return {
			subscribed: { channel, ...places, recovered: !reason, ...(reason && { reason }), ...durable },
		};
	}

	#before(stream: Stream, channel: string, last: number): number {
		const mine = stream.entries.filter((e) => covers(channel, e.channel)).slice(-last);
		return (mine[0]?.seq ?? stream.last + 1) - 1;
	}

	streamsOf(channel: string): Stream[] {
		return /[*>]/.test(channel) ? this.streams : [this.streamOf(channel)];
	}

	#deliver(c: Connection): boolean {
		const all = c.subs.flatMap((sub) => sub.cursors.map((cursor) => ({ sub, cursor })));
		for (const { sub, cursor } of all) {
			const { epoch, trimmed } = cursor.stream;
			if (cursor.epoch !== epoch || cursor.at < trimmed) return this.#gap(c, sub, cursor);
		}
		for (let i = 0; i < all.length; i++) {
			const { sub, cursor } = all[c.turn++ % all.length] as (typeof all)[number];
			const entry = cursor.stream.after(cursor.at);
			if (entry) return this.#message(c, sub, cursor, entry);
		}
		const sub = c.subs.find((s) => s.behind);
		if (!sub) return false;
		sub.behind = false;
		const where = sub.cursors.map(({ stream, at }) => stream.position(at));
		const places = sub.pattern ? { positions: where } : { position: where[0] };
		c.socket.push({ caught_up: { channel: sub.channel, ...places } });
		return true;
	}

	#gap(c: Connection, sub: Sub, cursor: Cursor): boolean {
		const { stream } = cursor;
		const reason = cursor.epoch === stream.epoch ? "retention" : "log_changed";
		const at = stream.trimmed;
		Object.assign(cursor, { at, start: at, epoch: stream.epoch });
		c.socket.push({ gap: { channel: sub.channel, position: stream.position(at), reason } });
		return true;
	}

	/** The cursor passes it, and delivers what belongs to it. */
	#message(c: Connection, sub: Sub, cursor: Cursor, e: Entry): boolean {
		cursor.at = e.seq;
		if (owner(c, cursor.stream, e) !== sub || sub.skip.has(e) || sub.delivered.has(e)) return true;
		sub.delivered.add(e);
		const { channel, seq: offset, data, id } = e;
		// A position need not be the message's own, only a safe one (P-5.2).
		const position = cursor.stream.position(Math.max(offset - (offset % 3), cursor.start));
		c.socket.push({ message: { channel, offset, position, time: 1, data, ...(id && { id }) } });
		return true;
	}
}

/** Whose it is (P-4.4). */
function owner(c: Connection, stream: Stream, e: Entry): Sub | undefined {
	const may = c.subs.filter((s) => covers(s.channel, e.channel));
	may.sort((a, b) => Number(a.pattern) - Number(b.pattern));
	return may.find((s) =>
		s.cursors.some((cursor) => cursor.stream === stream && e.seq > cursor.start),
	);
}

export function covers(name: string, channel: string): boolean {
	return /[*>]/.test(name) ? matches(name, channel) : name === channel;
}
