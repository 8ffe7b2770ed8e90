// What the demo makes of messages: nothing is lost between its rooms, nothing odd breaks it, and
// nobody speaks in another's name.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Boundary } from "../../demo/src/Boundary.js";
import { Chat, lineOf, longest, rooms, speaker } from "../../demo/src/chat.js";
import type { Cut } from "../../demo/src/cut.js";
import { eventOf, Feed } from "../../demo/src/feed.js";
import type { Client } from "../../src/index.js";
import type { Message } from "../../src/types.js";
import { settled } from "./fake/clock.js";
import { FakeNode } from "./fake/node.js";
import { setup } from "./fake/setup.js";

const me = { id: "me", name: "Me" };
const message = (data: unknown, more: Partial<Message> = {}): Message => ({
	channel: "chat:lobby",
	offset: 1,
	position: "p",
	time: 1,
	data,
	...more,
});
const odd = [undefined, null, 0, "text", [], {}, { text: 1, name: {} }, { text: { a: 1 } }];

interface Step {
	publish?: number;
	count?: number;
	enter?: number;
	pass?: number;
	deliver?: number;
	cut?: boolean;
}

/** Does this in the chat, then looks into each room for what was said there. */
async function played(steps: Step[]): Promise<void> {
	const { client, clock, network } = setup({ backoff: { base: 20, cap: 100 } });
	const node = new FakeNode(network, clock);
	const chat = new Chat(client, me);
	const settle = async (): Promise<void> => {
		for (let more = true, calm = 0; calm < 20; calm = more ? 0 : calm + 1) {
			await clock.pass(20);
			more = node.step();
			await settled();
		}
	};
	await settle();
	const said: Record<string, string[]> = { lobby: [], engineering: [], random: [] };
	let n = 0;
	for (const { publish, count = 0, enter, pass, cut, deliver = 0 } of steps) {
		if (publish !== undefined) {
			const room = rooms[publish] as string;
			for (let i = 0; i < count; i++) {
				said[room]?.push(String(++n));
				node.publish(`chat:${room}`, { text: String(n) });
			}
		} else if (enter !== undefined) chat.enter(rooms[enter] as string);
		else if (pass) await clock.pass(pass);
		else if (cut) node.cut();
		else for (let i = 0; i < deliver && node.step(); i++) await settled();
	}
	for (const room of [chat.state.value.room, ...rooms]) {
		if (room !== chat.state.value.room) chat.enter(room);
		await settle();
		const shown = chat.state.value.rooms[room]?.lines.map((l) => l.text);
		expect(shown, room).toEqual(said[room]);
	}
	chat.close();
	client.close();
}

describe("rooms", () => {
	const step = fc.oneof(
		fc.record({ publish: fc.nat(2), count: fc.integer({ min: 1, max: 4 }) }),
		fc.record({ enter: fc.nat(2) }),
		fc.record({ pass: fc.integer({ min: 1, max: 6 }) }),
		fc.record({ deliver: fc.integer({ min: 1, max: 5 }) }),
		fc.constant({ cut: true }),
	);

	test(
		"lose no line, however fast one goes from one to the other",
		async () => {
			const play = fc.asyncProperty(
				fc.array(step, { minLength: 10, maxLength: 60, size: "max" }),
				(steps) => played(steps as Step[]),
			);
			await fc.assert(play, { numRuns: Number(process.env.FC_RUNS ?? 60) });
		},
		60_000 + Number(process.env.FC_RUNS ?? 60) * 200,
	);

	test("lose no line that was on its way to a room when it was left, and the connection then", () =>
		played([
			{ enter: 1 },
			{ publish: 0, count: 2 },
			{ deliver: 1 },
			{ pass: 2 },
			{ deliver: 2 },
			{ publish: 0, count: 1 },
			{ pass: 1 },
			{ cut: true },
			{ publish: 0, count: 2 },
		]));

	test("keep what comes while their own subscription is on its way", async () => {
		const { client, clock, network } = setup();
		const node = new FakeNode(network, clock);
		const chat = new Chat(client, me);
		for (let i = 0; i < 20; i++) {
			await clock.pass(20);
			node.step();
		}
		chat.enter("random");
		node.publish("chat:random", { text: "between" }); // the node knows the pattern alone
		while (node.step()) await settled();
		await clock.pass(100);
		while (node.step()) await settled();
		const { lines, unread } = chat.state.value.rooms.random ?? { lines: [], unread: -1 };
		expect([lines.map((l) => l.text), unread]).toEqual([["between"], 0]);
		chat.close();
		client.close();
	});

	test("are opened anew where they were when a transport tells of no members", async () => {
		const asked: any[] = [];
		const handlers: any[] = [];
		let state: (change: object) => void = () => {};
		const client = {
			on: (_: string, listener: typeof state) => {
				state = listener;
				return () => {};
			},
			channel: (name: string) => ({
				presence: async () => ({ members: [], clients: 0, users: 0 }),
				subscribe: (options: object, h: object) => {
					if (name === "chat:>") return { ready: Promise.resolve(), unsubscribe: async () => {} };
					handlers.push(h);
					const sub = { position: asked.length ? `at ${asked.length}` : undefined };
					asked.push(options);
					return { ...sub, ready: Promise.resolve(), unsubscribe: async () => {} };
				},
			}),
		};
		const chat = new Chat(client as unknown as Client, me);
		for (const transport of ["sse", "poll", "websocket"]) state({ state: "connected", transport });
		handlers.at(-1)?.update({ type: "unsubscribed", error: { code: 4422 } });
		chat.close();
		expect(asked).toEqual([
			{ last: 30, presence: true },
			{ last: 30, presence: false }, // nothing was handled yet
			{ position: "at 1", presence: true },
			{ position: "at 2", presence: false }, // this node tells of none
		]);
	});
});

describe("a line", () => {
	test("is bounded and text, whatever was published", () => {
		for (const data of odd) {
			const { text, claimed } = lineOf(message(data));
			expect([typeof text, typeof claimed]).toEqual(["string", "string"]);
		}
		const huge = "x".repeat(100_000);
		for (const data of [{ text: huge, name: huge }, { a: huge }, huge]) {
			const { text, claimed } = lineOf(message(data));
			expect(text.length).toBe(longest);
			expect(claimed.length).toBeLessThanOrEqual(64);
		}
		const bytes = { data: undefined, bytes: new Uint8Array(3) };
		expect(lineOf(message(undefined, bytes)).text).toBe("3 bytes");
	});

	test("is its token's user's, not whose it says it is", () => {
		const names = new Map([["u1", "Ann"]]);
		const by = (user: string | undefined, name: string) =>
			speaker(lineOf(message({ text: "hi", name }, user ? { user } : {})), names);
		expect(by("u1", "Bob")).toBe("Ann");
		expect(by("u2", "Ann")).toBe("Ann"); // shown beside u2
		expect(by("u2", "")).toBe("u2");
		expect(by(undefined, "Ann")).toBe("somebody");
	});
});

describe("an event of the feed", () => {
	const event = { run: "r", n: 1, project: "a/b", commit: "c", author: "d", subject: "e" };

	test("is what has all of its fields", () => {
		expect(eventOf(message(event))?.data).toEqual(event);
		for (const data of [...odd, { run: "x", n: 1 }]) expect(eventOf(message(data))).toBeUndefined();
		for (const field of Object.keys(event)) {
			for (const value of [undefined, null, {}, true]) {
				expect(eventOf(message({ ...event, [field]: value })), field).toBeUndefined();
			}
		}
		for (const n of [0, 0.5, Number.NaN, 2 ** 60]) {
			expect(eventOf(message({ ...event, n }))).toBeUndefined();
		}
		const cut = eventOf(message({ ...event, subject: "x".repeat(9_999), more: 1 }));
		expect(cut?.data).toEqual({ ...event, subject: "x".repeat(200) });
	});
});

describe("the feed", () => {
	/** A feed of a client that only subscribes: what it was subscribed with, and its handlers. */
	function watched(before?: Feed): { feed: Feed; start: unknown; tell: any } {
		let [start, tell]: any[] = [];
		const subscribe = (s: object, handlers: object) => {
			[start, tell] = [s, handlers];
			return { ready: Promise.resolve(), state: "live", unsubscribe: async () => {} };
		};
		const client = { channel: () => ({ subscribe }) };
		return { feed: new Feed(client as unknown as Client, {} as Cut, before), start, tell };
	}
	const event = (n: number, age: number) => {
		const data = { run: "r", n, project: "a/b", commit: "c", author: "d", subject: "e" };
		return message(data, { offset: n, position: `p${n}`, time: Date.now() - age });
	};

	test("counts what comes, not what was stored before, and draws nothing from before a pause", () => {
		const { feed, start, tell } = watched();
		expect(start).toEqual({ last: 12 });
		tell.update({ type: "subscribed" });
		tell.message(event(1, 60_000));
		tell.message(event(2, 3000));
		tell.update({ type: "caught_up" });
		tell.message(event(3, 0));
		expect(feed.passages.map((p) => p.old)).toEqual([true, false, undefined]);
		expect(feed.state.value).toMatchObject({ total: 1, missing: 0, doubled: 0 });
	});

	test("goes on after the one before it, which has counted and seen", () => {
		const first = watched();
		first.tell.update({ type: "subscribed" });
		first.tell.update({ type: "caught_up" });
		first.tell.message(event(1, 0));
		const { feed, start, tell } = watched(first.feed);
		expect(start).toEqual({ position: "p1" });
		tell.update({ type: "subscribed" });
		tell.message(event(2, 0));
		expect(feed.state.value).toMatchObject({ total: 2, missing: 0 });
		expect(feed.passages.map((p) => [p.n, p.late])).toEqual([
			[1, undefined],
			[2, true],
		]);
		tell.message(event(4, 0));
		expect(feed.state.value.missing).toBe(1);
	});
});

test("a chat that takes another's place has its lines and room, and sends what waits", async () => {
	const { client, clock, network } = setup({ backoff: { base: 20, cap: 100 } });
	const node = new FakeNode(network, clock);
	const settle = async (): Promise<void> => {
		for (let i = 0; i < 60; i++) {
			await clock.pass(20);
			while (node.step()) await settled();
		}
	};
	const chat = new Chat(client, me);
	chat.enter("random");
	await settle();
	node.publish("chat:random", { text: "one" });
	await settle();
	const sent: unknown[] = [];
	chat.send("two");
	chat.close();
	const next = new Chat(
		{
			on: () => () => {},
			channel: () => ({
				subscribe: () => ({ ready: Promise.resolve(), unsubscribe: async () => {} }),
				presence: async () => ({ members: [], clients: 0, users: 0 }),
				publish: async (...all: unknown[]) => sent.push(all),
			}),
		} as unknown as Client,
		me,
		chat,
	);
	const { room, rooms: all } = next.state.value;
	expect(room).toBe("random");
	expect(all.random?.lines.map((l) => l.text)).toEqual(["one", "two"]);
	const key = all.random?.lines.at(-1)?.key;
	expect(sent).toEqual([[{ text: "two", name: "Me" }, { idempotencyKey: key }]]);
	next.close();
	client.close();
});

test("a card that fails is replaced by a word of it, until it is shown again", () => {
	const card = new Boundary({ name: "The chat", children: "lines" });
	expect(card.render()).toBe("lines");
	card.state = Boundary.getDerivedStateFromError();
	expect(card.render()).toMatchObject({ props: { role: "alert", "aria-label": "The chat" } });
});
