// Publishes: stored once, in order, within bounds; and questions.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RivuletError } from "../../src/index.js";
import type { Published } from "../../src/types.js";
import { FakeNode } from "./fake/node.js";
import { connected, setup } from "./fake/setup.js";

const published = (offset: number, more: object = {}) => ({
	published: {
		channel: "default:a",
		offset,
		position: `p${offset}`,
		time: 9,
		duplicate: false,
		...more,
	},
});

describe("publish", () => {
	// As a whole frame they would be none of the protocol, which ends the connection for good.
	test.each<[string, unknown, object]>([
		["data: has half of a surrogate pair", { text: "cut 😀".slice(0, 5) }, {}],
		["headers: has half of a surrogate pair", 1, { headers: { k: "\ude00" } }],
		["idempotencyKey: has half of a surrogate pair", 1, { idempotencyKey: "\ud83d" }],
		["data: is nested more than 64 levels deep", JSON.parse("[".repeat(65) + "]".repeat(65)), {}],
	])("refuses what no node can read: %s", async (message, data, options) => {
		const { client, network } = await connected();
		const a = client.channel("a");
		const refused = await a.publish(data, options).catch((e) => e);
		expect(refused).toBeInstanceOf(RivuletError);
		expect(refused.message).toContain(message);
		expect(refused).toMatchObject({ code: 4400, field: message.split(":")[0] });

		const done = a.publish([
			"\\ud83d 😀",
			"[".repeat(99),
			JSON.parse("[".repeat(63) + "]".repeat(63)),
		]);
		network.socket.answer("publish", published(7));
		await done;
		client.close();
	});

	test("resolves when it is stored", async () => {
		const { client, network } = await connected();
		const done = client.channel("a").publish({ n: 1 }, { headers: { k: "v" }, ttl: 60 });
		const { publish } = network.socket.answer("publish", published(7));
		expect(publish).toMatchObject({
			channel: "default:a",
			data: { n: 1 },
			headers: { k: "v" },
			ttl: 60,
		});
		expect(publish.idempotency_key).toMatch(/^[0-9a-z]{10,}$/);
		expect(await done).toEqual({
			channel: "default:a",
			offset: 7,
			position: "p7",
			time: 9,
			duplicate: false,
		});
		client.close();
	});

	test("writes all options in the names of the protocol", async () => {
		const { client, network } = await connected();
		void client.channel("a").publish(new Uint8Array([0, 255]), {
			idempotencyKey: "k",
			deliverAt: new Date(1_900_000_000_000),
			expectedOffset: 0,
			excludeSelf: true,
			conflationKey: "c",
			updates: 5,
		});
		expect(network.socket.take("publish").publish).toEqual({
			channel: "default:a",
			data_base64: "AP8=",
			idempotency_key: "k",
			deliver_at: 1_900_000_000_000,
			expected_offset: 0,
			exclude: "c1",
			conflation_key: "c",
			updates: 5,
		});
	});

	test("of a scheduled message says when", async () => {
		const { client, network } = await connected();
		const done = client.channel("a").publish(1, { delay: 500 });
		network.socket.answer("publish", {
			published: { channel: "default:a", duplicate: false, schedule: "s1", deliver_at: 99 },
		});
		expect(await done).toEqual({
			channel: "default:a",
			duplicate: false,
			schedule: "s1",
			deliverAt: 99,
		});
		client.close();
	});

	test("sends what it was given, whatever becomes of it", async () => {
		const { client, clock, network } = setup();
		const data = { n: 1 };
		const bytes = new Uint8Array([1]);
		void client.channel("a").publish(data);
		void client.channel("a").publish(bytes);
		data.n = 2;
		bytes[0] = 2;
		await clock.pass(0);
		network.socket.greet();
		expect(network.socket.take("publish").publish.data).toEqual({ n: 1 });
		expect(network.socket.take("publish").publish.data_base64).toBe("AQ==");
	});

	test.each([[undefined], [() => 1], [1n], [{ toJSON: () => 1n }]])(
		"refuses %s, which is no JSON",
		async (data) => {
			const { client } = await connected();
			const sent = client.channel<unknown>("a").publish(data);
			await expect(sent).rejects.toMatchObject({ code: 4400, field: "data" });
			client.close();
		},
	);

	test("refuses by itself what the node would not take", async () => {
		const { client, network } = await connected({}, { max_frame: 300 });
		const big = client.channel("a").publish("x".repeat(300));
		await expect(big).rejects.toMatchObject({ code: 4413, field: "data" });
		const umlauts = client.channel("a").publish("ü".repeat(150));
		await expect(umlauts).rejects.toMatchObject({ code: 4413 });
		expect(network.socket.sent).toEqual([]);
		expect(client.state).toBe("connected");
		client.close();
	});

	test("goes again with the same key after a lost connection", async () => {
		const { client, clock, network } = await connected();
		const done = client.channel("a").publish(1);
		const first = network.socket.take("publish");
		network.socket.drop();
		await clock.pass(250);
		network.socket.greet();
		const second = network.socket.answer("publish", published(3, { duplicate: true }));
		expect(second.publish.idempotency_key).toBe(first.publish.idempotency_key);
		expect(await done).toMatchObject({ offset: 3, duplicate: true });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("goes again after an error for now, in its place", async () => {
		const { client, clock, network } = await connected();
		const ch = client.channel("a");
		void ch.publish(1);
		void ch.publish(2);
		network.socket.answer("publish", {
			error: { code: 4429, message: "", temporary: true, retry_after_ms: 400 },
		});
		network.socket.answer("publish", published(2));
		void ch.publish(3);
		await clock.pass(400);
		expect(network.socket.has("publish")).toBe(false);
		await clock.pass(125);
		expect(network.socket.sent.map((f) => f.publish.data)).toEqual([1, 3]);
		client.close();
	});

	test("waits as long as the node said also over another connection", async () => {
		const { client, clock, network } = await connected();
		void client.channel("a").publish(1);
		network.socket.answer("publish", {
			error: { code: 4429, message: "", temporary: true, retry_after_ms: 5_000 },
		});
		network.socket.drop();
		await clock.pass(250);
		network.socket.greet();
		await clock.pass(4_700);
		expect(network.socket.has("publish")).toBe(false);
		await clock.pass(200);
		expect(network.socket.has("publish")).toBe(true);
		client.close();
	});

	test("goes again when no reply comes", async () => {
		const { client, clock, network } = await connected({ replyTimeout: 1_000 });
		void client.channel("a").publish(1);
		const first = network.socket.take("publish");
		await clock.pass(1_125);
		const second = network.socket.take("publish");
		expect(second.publish).toEqual(first.publish);
		network.socket.push({ id: first.id as number, ...published(1) }); // too late to matter
		network.socket.push({ id: second.id as number, ...published(1) });
		client.close();
	});

	test("an error for good is told, with what to do", async () => {
		const { client, network } = await connected();
		const heard: RivuletError[] = [];
		client.on("error", (e) => heard.push(e));
		const done = client.channel("a").publish(1);
		network.socket.answer("publish", {
			error: { code: 4403, message: "no", field: "channel", temporary: false, retry_after_ms: 0 },
		});
		await expect(done).rejects.toMatchObject({ code: 4403, message: "channel: no" });
		await done.catch((e: RivuletError) => expect(e.advice).toContain("token"));
		expect(heard).toEqual([await done.catch((e) => e)]);
		client.close();
	});

	test("an error names the option, not the field of the wire", async () => {
		const { client, network } = await connected();
		const done = client.channel("a").publish(1, { expectedOffset: 7 });
		network.socket.answer("publish", {
			error: { code: 4409, message: "no", field: "expected_offset", temporary: false },
		});
		await expect(done).rejects.toMatchObject({ code: 4409, field: "expectedOffset" });
		client.close();
	});

	test("says whether it may be stored when it is given up", async () => {
		const { client, clock, network } = await connected();
		const ch = client.channel("a");
		const sent = ch.publish(1, { timeout: 100 });
		await clock.pass(100);
		await expect(sent).rejects.toMatchObject({ code: 4504 });
		network.socket.drop();
		const waiting = ch.publish(1, { timeout: 10 });
		await clock.pass(10);
		await expect(waiting).rejects.toMatchObject({ code: 4503 });
		const abort = new AbortController();
		const aborted = ch.publish(1, { signal: abort.signal });
		abort.abort(new Error("changed my mind"));
		await expect(aborted).rejects.toMatchObject({ code: 4503, cause: abort.signal.reason });
		await expect(ch.publish(1, { signal: abort.signal })).rejects.toMatchObject({ code: 4503 });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("is not sent again when its key may have expired", async () => {
		const { client, clock, network } = await connected();
		const done = client.channel("a").publish(1, { timeout: 3_600_000 });
		network.socket.drop();
		client.disconnect();
		clock.sleep(106_000);
		client.connect();
		await clock.pass(0);
		network.socket.greet();
		expect(network.socket.has("publish")).toBe(false);
		await expect(done).rejects.toMatchObject({ code: 4504 });
		client.close();
	});

	test("waits in a queue with a bound, or not at all", async () => {
		const { client, clock, network } = setup({ queue: { messages: 2, bytes: 1_000 } });
		const ch = client.channel("a");
		await expect(ch.publish(0, { offline: "fail" })).rejects.toMatchObject({ code: 4503 });
		void ch.publish(1);
		await expect(ch.publish("x".repeat(900))).rejects.toMatchObject({ code: 4429 });
		await expect(ch.publish("x".repeat(1_000))).rejects.toMatchObject({
			code: 4413,
			temporary: false,
			message: expect.stringMatching(/^1\d\d\d bytes, more than queue.bytes, 1000$/),
		});
		void ch.publish(2);
		const full = await ch.publish(3).catch((e) => e);
		expect(full).toMatchObject({ code: 4429, temporary: true });
		expect(full.advice).toContain("queue");
		await clock.pass(0);
		network.socket.greet();
		expect(network.socket.sent.map((f) => f.publish.data)).toEqual([1, 2]);
		const now = ch.publish(4, { offline: "fail" });
		network.socket.drop();
		await expect(now).rejects.toMatchObject({ code: 4504 });
		client.close();
	});

	test("rejects when the client is closed, before and after", async () => {
		const { client, network } = await connected();
		const ch = client.channel("a");
		const sent = ch.publish(1);
		network.socket.take("publish");
		client.close();
		await expect(sent).rejects.toMatchObject({ code: 4504 });
		await expect(ch.publish(2)).rejects.toMatchObject({ code: 4503 });
		await expect(ch.history()).rejects.toMatchObject({ code: 4503 });
		expect(() => ch.subscribe()).toThrow(RivuletError);
	});
});

describe("questions", () => {
	test("history", async () => {
		const { client, network } = await connected();
		const page = client.channel("a").history({ since: new Date(5), limit: 2, order: "desc" });
		const { history } = network.socket.answer("history", {
			history: {
				channel: "default:a",
				messages: [
					{ channel: "default:a", offset: 2, position: "p2", time: 7, data_base64: "/w==" },
					{ channel: "default:a", offset: 1, position: "p1", time: 6, data: null, id: "k" },
				],
				position: "p1",
				more: true,
				recovered: false,
				reason: "retention",
			},
		});
		expect(history).toEqual({ channel: "default:a", since: 5, limit: 2, order: "desc" });
		expect(await page).toMatchObject({
			messages: [
				{ offset: 2, data: undefined, bytes: new Uint8Array([255]) },
				{ offset: 1, data: null, id: "k" },
			],
			position: "p1",
			more: true,
			recovered: false,
			reason: "retention",
		});
		client.close();
	});

	test("presence", async () => {
		const { client, network } = await connected();
		const page = client.channel("a").presence({ counts: true });
		const { presence } = network.socket.answer("presence", {
			presence: { channel: "default:a", clients: 3, users: 2 },
		});
		expect(presence).toEqual({ channel: "default:a", counts: true });
		expect(await page).toMatchObject({ members: [], clients: 3, users: 2, partial: false });
		client.close();
	});

	test("are asked again over another connection, until the time is over", async () => {
		const { client, clock, network } = await connected({ replyTimeout: 1_000 });
		const page = client.channel("a").presence();
		network.socket.drop();
		await clock.pass(250);
		network.socket.greet();
		network.socket.answer("presence", {
			error: { code: 4503, message: "", temporary: true, retry_after_ms: 0 },
		});
		await clock.pass(125);
		network.socket.take("presence");
		await clock.pass(1_000);
		await expect(page).rejects.toMatchObject({ code: 4408 });
		client.close();
		expect(clock.timers.size).toBe(0);
	});
});

describe("against a node that loses, refuses and keeps silent", () => {
	type Op = { op: "publish" | "cut" | "refuse" | "mute" | "pass"; n: number };
	const op: fc.Arbitrary<Op> = fc.record({
		op: fc.constantFrom("publish", "publish", "publish", "cut", "refuse", "mute", "pass"),
		n: fc.integer({ min: 1, max: 5 }),
	}) as fc.Arbitrary<Op>;

	test("every publish is stored once, and what was acknowledged is in order", async () => {
		await fc.assert(
			fc.asyncProperty(fc.array(op, { maxLength: 60, size: "max" }), async (ops) => {
				const all = setup({ replyTimeout: 300, backoff: { base: 20, cap: 100 } });
				const node = new FakeNode(all.network, all.clock);
				const results: Promise<Published>[] = [];
				const channel = all.client.channel<number>("t:x");
				for (const { op: what, n } of ops) {
					if (what === "publish") results.push(channel.publish(results.length));
					if (what === "cut") node.cut();
					if (what === "refuse") node.refuse += n;
					if (what === "mute") node.mute += n;
					if (what === "pass") await all.clock.pass(n * 20);
				}
				await all.clock.pass(20_000);
				const answers = await Promise.all(results);
				const stored = node.streamOf("t:x").entries.map((e) => e.data as number);
				expect([...stored].sort((a, b) => a - b)).toEqual([...results.keys()]);
				answers.forEach((a, i) => {
					const entry = node.streamOf("t:x").entries.find((e) => e.data === i);
					expect(a.offset).toBe(entry?.seq);
				});
				// Without errors from the node nothing overtakes anything.
				if (ops.every((o) => o.op !== "refuse")) {
					expect(stored).toEqual([...results.keys()]);
				}
				all.client.close();
				expect(all.clock.timers.size).toBe(0);
			}),
			{ numRuns: Number(process.env.FC_RUNS ?? 150) },
		);
	}, 60_000);
});
