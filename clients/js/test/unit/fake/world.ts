// Subscriptions on a node in memory, and what is done to them: for the properties of model.test.ts.

import fc from "fast-check";
import { expect } from "vitest";
import type { Subscription } from "../../../src/index.js";
import { matches } from "../../../src/overlap.js";
import type { Message, Update } from "../../../src/types.js";
import { FakeNode } from "./node.js";
import { type Setup, setup } from "./setup.js";

export const channels = ["t:a.1", "t:a.2", "t:b.1", "t:b.2"];
const names = [...channels, "t:a.*", "t:>", "t:*.1"];

export type Op =
	| { op: "publish"; channel: number; count: number }
	| { op: "subscribe"; name: number; buffer: number; slow: boolean; last: number }
	| { op: "unsubscribe"; name: number }
	| { op: "cut" | "disconnect" | "connect" }
	| { op: "trim"; stream: number; keep: number }
	| { op: "reset"; stream: number }
	| { op: "refuse"; count: number }
	| { op: "http"; only: boolean }
	| { op: "pass"; ms: number }
	| { op: "step"; count: number };

export const index = (n: number) => fc.nat(n - 1);
export const arbitraryOp: fc.Arbitrary<Op> = fc.oneof(
	{
		weight: 6,
		arbitrary: fc.record({
			op: fc.constant("publish" as const),
			channel: index(channels.length),
			count: fc.integer({ min: 1, max: 12 }),
		}),
	},
	{
		weight: 3,
		arbitrary: fc.record({
			op: fc.constant("subscribe" as const),
			name: index(names.length),
			buffer: fc.integer({ min: 1, max: 6 }),
			slow: fc.boolean(),
			last: fc.integer({ min: 0, max: 5 }),
		}),
	},
	{
		weight: 1,
		arbitrary: fc.record({ op: fc.constant("unsubscribe" as const), name: index(names.length) }),
	},
	{
		weight: 2,
		arbitrary: fc.record({ op: fc.constantFrom("cut", "cut", "disconnect", "connect") as any }),
	},
	{
		weight: 1,
		arbitrary: fc.record({
			op: fc.constant("refuse" as const),
			count: fc.integer({ min: 1, max: 3 }),
		}),
	},
	{
		weight: 4,
		arbitrary: fc.record({
			op: fc.constant("pass" as const),
			ms: fc.integer({ min: 1, max: 400 }),
		}),
	},
	{
		weight: 4,
		arbitrary: fc.record({
			op: fc.constant("step" as const),
			count: fc.integer({ min: 1, max: 20 }),
		}),
	},
) as fc.Arbitrary<Op>;

export const lossOp: fc.Arbitrary<Op> = fc.oneof(
	fc.record({
		op: fc.constant("trim" as const),
		stream: index(2),
		keep: fc.integer({ min: 0, max: 4 }),
	}),
	fc.record({ op: fc.constant("reset" as const), stream: index(2) }),
) as fc.Arbitrary<Op>;

export const spellOp: fc.Arbitrary<Op> = fc.record({
	op: fc.constant("http" as const),
	only: fc.boolean(),
});

/** Long enough for something to come of it. */
export const plays = (op: fc.Arbitrary<Op>): fc.Arbitrary<Op[]> =>
	fc.array(op, { minLength: 20, maxLength: 90, size: "max" });

/** So that something comes of a cut within a play. */
export const fast = { base: 20, cap: 100 };

interface Watched {
	sub: Subscription<number>;
	name: string;
	got: Message<number>[];
	updates: Update<number>[];
	/** Numbers published before it had begun for the first time need not come. */
	since: number;
	/** Numbers published from then on, and so before its end. */
	until: number;
	loose: boolean;
}

export class World {
	readonly node: FakeNode;
	readonly watched: Watched[] = [];
	/** What each number was published to. */
	readonly published: string[] = [];

	/** Its subscriptions to channels are. */
	durable = false;
	/** Its transport changes. */
	switches = false;

	constructor(
		readonly all: Pick<Setup, "client" | "clock" | "network"> = setup({ backoff: fast }),
	) {
		this.node = new FakeNode(all.network, all.clock);
	}

	subscribe(name: string, buffer: number, slow: boolean, last: number): void {
		if (this.watched.some((w) => w.name === name && w.sub.state !== "ended")) return;
		const sub = this.all.client.channel<number>(name).subscribe({
			buffer,
			durable: this.durable && !/[*>]/.test(name),
			...(last > 0 && { last }),
		});
		const w: Watched = { sub, name, got: [], updates: [], since: -1, until: -1, loose: last > 0 };
		this.watched.push(w);
		sub.ready.then(
			() => {
				w.since = this.published.length;
			},
			() => {},
		);
		void this.#consume(w, slow);
	}

	async #consume(w: Watched, slow: boolean): Promise<void> {
		for await (const u of w.sub.updates()) {
			w.updates.push(u);
			if (u.type === "message") w.got.push(u.message);
			if (slow) await new Promise<void>((r) => this.all.clock.setTimeout(r, 7));
		}
	}

	async do(o: Op): Promise<void> {
		const { client, clock } = this.all;
		switch (o.op) {
			case "publish":
				for (let i = 0; i < o.count; i++) {
					const channel = channels[o.channel] as string;
					this.node.publish(channel, this.published.push(channel) - 1);
				}
				break;
			case "subscribe":
				this.subscribe(names[o.name] as string, o.buffer, o.slow, o.last);
				break;
			case "unsubscribe": {
				const w = this.watched.find((x) => x.name === names[o.name] && x.sub.state !== "ended");
				if (!w) break;
				w.until = this.published.length;
				w.loose = true;
				for (const other of this.watched) other.loose = true; // see `complete`
				void w.sub.unsubscribe();
				break;
			}
			case "cut":
				this.node.cut();
				break;
			case "disconnect":
				client.disconnect();
				break;
			case "connect":
				client.connect();
				break;
			case "trim":
				this.node.trim(o.stream, o.keep);
				break;
			case "reset":
				this.node.reset(o.stream);
				break;
			case "http":
				this.node.blocked = o.only;
				if (!o.only) clock.sleep(700_000); // what is remembered of a transport ends
				this.node.cut();
				break;
			case "refuse":
				this.node.refuse += o.count;
				break;
			case "pass":
				await clock.pass(o.ms);
				break;
			case "step":
				for (let i = 0; i < o.count; i++) {
					this.node.step();
					if (i % 3 === 0) await clock.pass(0); // several come in one turn
				}
				break;
		}
	}

	/** Lets everything come to rest. */
	async rest(): Promise<void> {
		const { client, clock } = this.all;
		client.connect();
		const enough = this.node.blocked ? 120 : 40; // a poll that has nothing pauses
		for (let quiet = 0, i = 0; quiet < enough; i++) {
			if (i > 20_000)
				throw new Error(`no rest: ${this.watched.map((w) => `${w.name} ${w.sub.state}`)}`);
			quiet = this.node.step() ? 0 : quiet + 1;
			await clock.pass(quiet > 3 ? 50 : 4);
		}
	}

	/**
	 * In order and never twice, within one subscription; but for a gap, after which some repeat. A
	 * durable one that has begun again may have older ones that a pattern kept from it, and where the
	 * transport changes any may that one which ended kept: see the README's limits.
	 */
	ordered(): void {
		for (const { updates, name } of this.watched) {
			const last = new Map<string, number>();
			const had = new Set<number>();
			for (const u of updates) {
				if (u.type === "gap") had.clear();
				const kept = this.switches || (this.durable && channels.includes(name));
				const late = u.type === "subscribed" && kept;
				if (u.type === "gap" || late) last.clear();
				if (u.type !== "message") continue;
				const { channel, data } = u.message;
				expect(data, `${name} ${channel}`).toBeGreaterThan(last.get(channel) ?? -1);
				expect(had.has(data), `${data} twice to ${name}`).toBe(false);
				last.set(channel, data);
				had.add(data);
			}
		}
	}

	/**
	 * Each message that was published while somebody listened has come to one of them, and to one
	 * only. A subscription made in the middle, or ended, moves what belongs to whom; then a
	 * message must still come to somebody who listened all along.
	 */
	complete(exactly: boolean): void {
		this.published.forEach((channel, n) => {
			const listeners = this.watched.filter(
				(w) => covers(w.name, channel) && w.since >= 0 && w.since <= n && w.sub.state !== "ended",
			);
			if (listeners.length === 0) return;
			const came = this.watched.flatMap((w) => w.got).filter((m) => m.data === n).length;
			expect(came, `${n} to ${channel}`).toBeGreaterThanOrEqual(1);
			if (exactly) expect(came, `${n} to ${channel}`).toBe(1);
		});
	}
}

export const covers = (name: string, channel: string) =>
	name === channel || (/[*>]/.test(name) && matches(name, channel));

/** Plays them, and lets everything come to rest. */
export async function play(ops: Op[], world = new World()): Promise<World> {
	for (const o of ops) await world.do(o);
	await world.rest();
	return world;
}
