// One subscription: iteration, handlers, errors, durable sessions, positions that are kept.

import { describe, expect, test } from "vitest";
import { RivuletError, type Subscription } from "../../src/index.js";
import type { Update } from "../../src/types.js";
import { settled } from "./fake/clock.js";
import { connected, type Setup, setup } from "./fake/setup.js";

const at = (n: number) => `s0AAA001-${n.toString(36)}-x`;
const begun = (n: number, more: object = {}) => ({
	subscribed: { channel: "default:a", position: at(n), recovered: true, ...more },
});
const message = (n: number, channel = "default:a") => ({
	message: { channel, offset: n, position: at(n), time: 1, data: n },
});
const refused = (code: number, more: object = {}) => ({
	error: { code, message: "no", temporary: false, retry_after_ms: 0, ...more },
});

async function messages(sub: Subscription, count: number): Promise<unknown[]> {
	const got: unknown[] = [];
	if (count === 0) return got;
	for await (const m of sub) if (got.push(m.data) === count) break;
	return got;
}

async function all(sub: Subscription): Promise<Update[]> {
	const got: Update[] = [];
	for await (const u of sub.updates()) got.push(u);
	return got;
}

describe("a subscription", () => {
	test("asks as it was told", async () => {
		const { client, network } = await connected();
		client.channel("a").subscribe({ since: new Date(7), conflate: "key", maxRate: 5 });
		client.channel("b").subscribe({ last: 3, presence: true });
		client.channel("t:x.*").subscribe({ positions: [at(1)], filter: "user == 'ann'" });
		expect(network.socket.sent.map((f) => f.subscribe)).toEqual([
			{ channel: "default:a", since: 7, conflate: "key", max_rate: 5 },
			{ channel: "default:b", last: 3, presence: true },
		]);
		network.socket.answer("subscribe", begun(1));
		network.socket.answer("subscribe", begun(1));
		expect(network.socket.take("subscribe").subscribe).toEqual({
			channel: "t:x.*",
			positions: [at(1)],
			filter: "user == 'ann'",
		});
		client.close();
	});

	test("iterates over messages, and over all that it has to tell", async () => {
		const { client, network } = await connected();
		const sub = client.channel<number>("a").subscribe();
		const told = all(sub);
		network.socket.answer("subscribe", begun(0));
		await sub.ready;
		network.socket.push(message(1));
		network.socket.push({ caught_up: { channel: "default:a", position: at(1) } });
		network.socket.push({ deleted: { channel: "default:a", offset: 1, position: at(1) } });
		network.socket.push({ gap: { channel: "default:a", position: at(4), reason: "purged" } });
		network.socket.push({
			presence: { channel: "default:a", joined: [{ client: "c2" }], clients: 2, users: 1 },
		});
		network.socket.push({ weather: {} });
		const gone = sub.unsubscribe();
		network.socket.answer("unsubscribe", { unsubscribed: { channel: "default:a" } });
		await gone;
		// What waits is dropped, except for who was waiting first.
		expect((await told).at(-1)).toEqual({ type: "unsubscribed" });
		expect(sub.state).toBe("ended");
		client.close();
	});

	test("tells everything in order", async () => {
		const { client, network } = await connected();
		const got: Update[] = [];
		client.channel("a").subscribe(
			{},
			{
				message: (m) => got.push({ type: "message", message: m }),
				update: (u) => got.push(u),
			},
		);
		network.socket.answer("subscribe", begun(0));
		network.socket.push(message(1));
		network.socket.push({ gap: { channel: "default:a", position: at(4), reason: "purged" } });
		network.socket.push({ deleted: { channel: "default:a", offset: 1, position: at(5) } });
		network.socket.push({ presence: { channel: "default:a", clients: 2, users: 1 } });
		network.socket.push({ caught_up: { channel: "default:a", position: at(5) } });
		network.socket.push({ unsubscribed: { channel: "default:a", code: 4700, reason: "why" } });
		await settled();
		expect(got.map((u) => u.type)).toEqual([
			"subscribed",
			"message",
			"gap",
			"deleted",
			"presence",
			"caught_up",
			"unsubscribed",
		]);
		expect(got[2]).toMatchObject({ channel: "default:a", reason: "purged" });
		expect((got[2] as { advice: string }).advice).not.toBe("");
		expect(got[4]).toMatchObject({ joined: [], left: [], clients: 2, users: 1, partial: false });
		expect(got[6]).toMatchObject({ error: { code: 4700, message: "why" } });
		client.close();
	});

	test("gives one message at a time to handlers, and goes on after an error", async () => {
		const { client, network, errors } = await connected();
		const log: string[] = [];
		client.channel("a").subscribe(
			{},
			{
				message: async (m) => {
					log.push(`begin ${m.data}`);
					await settled();
					log.push(`end ${m.data}`);
					if (m.data === 1) throw new Error("handler");
				},
			},
		);
		network.socket.answer("subscribe", begun(0));
		network.socket.push(message(1));
		network.socket.push(message(2));
		for (let i = 0; i < 6; i++) await settled();
		expect(log).toEqual(["begin 1", "end 1", "begin 2", "end 2"]);
		expect(errors).toEqual([new Error("handler")]);
		client.close();
	});

	test("with handlers cannot be iterated, and a second to the channel is refused", async () => {
		const { client } = await connected();
		const sub = client.channel("a").subscribe({}, {});
		await expect(messages(sub, 1)).rejects.toMatchObject({
			code: 4400,
			message: "has handlers: iterate without",
		});
		expect(() => client.channel("default:a").subscribe()).toThrow(RivuletError);
		client.close();
	});

	test("may be left and taken up again by the application", async () => {
		const { client, network } = await connected();
		const sub = client.channel("a").subscribe();
		network.socket.answer("subscribe", begun(0));
		for (let n = 1; n <= 4; n++) network.socket.push(message(n));
		expect(await messages(sub, 2)).toEqual([1, 2]);
		expect(sub.position).toBe(at(1));
		expect(await messages(sub, 2)).toEqual([3, 4]);
		expect(sub.positions).toEqual([at(3)]);
		client.close();
	});

	test("resumes after what it had, and leaves out what comes again", async () => {
		const { client, clock, network } = await connected();
		const sub = client.channel("a").subscribe({ last: 5 });
		network.socket.answer("subscribe", begun(0));
		network.socket.push(message(1));
		network.socket.push({ position: { channel: "default:a", position: at(3) } });
		network.socket.drop();
		await clock.pass(250);
		network.socket.greet();
		const { subscribe } = network.socket.answer("subscribe", begun(3));
		expect(subscribe).toEqual({ channel: "default:a", position: at(3) });
		network.socket.push(message(1));
		network.socket.push(message(4));
		expect(await messages(sub, 2)).toEqual([1, 4]);
		client.close();
	});

	test("tells a gap where the node could not resume", async () => {
		const { client, clock, network } = await connected();
		const gaps: object[] = [];
		client.on("gap", (gap) => gaps.push(gap));
		const sub = client.channel("a").subscribe();
		network.socket.answer("subscribe", begun(9));
		network.socket.push(message(10));
		network.socket.drop();
		await clock.pass(250);
		network.socket.greet();
		network.socket.answer("subscribe", begun(0, { recovered: false, reason: "log_changed" }));
		network.socket.push(message(1));
		const iterator = sub.updates()[Symbol.asyncIterator]();
		const got: unknown[] = [];
		for (let i = 0; i < 5; i++) got.push((await iterator.next()).value);
		expect(got).toMatchObject([
			{ type: "subscribed", recovered: true, resumed: false },
			{ type: "message" },
			{ type: "subscribed", recovered: false, resumed: true },
			{ type: "gap", reason: "log_changed" },
			{ type: "message", message: { offset: 1 } },
		]);
		expect(gaps).toEqual([{ channel: "default:a", reason: "log_changed" }]);
		client.close();
	});

	test("tells of one beginning where several came before anybody looked", async () => {
		const { client, clock, network } = await connected();
		const sub = client.channel("a").subscribe({ position: at(1) });
		for (let i = 0; i < 4; i++) {
			network.socket.answer("subscribe", begun(9, { recovered: i > 0 }));
			network.socket.drop();
			await clock.pass(250);
			network.socket.greet();
		}
		void sub.unsubscribe;
		const iterator = sub.updates()[Symbol.asyncIterator]();
		expect((await iterator.next()).value).toMatchObject({ type: "subscribed" });
		expect((await iterator.next()).value).toMatchObject({ type: "gap" });
		client.close();
		expect((await iterator.next()).value).toEqual({ type: "unsubscribed" });
	});

	test("does not fill with what reconnects tell", async () => {
		const { client, clock, network } = await connected();
		const sub = client.channel("a").subscribe({ position: at(1) });
		for (let i = 0; i < 50; i++) {
			network.socket.answer("subscribe", begun(9));
			network.socket.push({ caught_up: { channel: "default:a", position: at(9) } });
			network.socket.drop();
			await clock.pass(250);
			network.socket.greet();
		}
		client.close();
		network.socket.drop();
		expect((await all(sub)).length).toBeLessThan(4);
	});

	test("keeps a position that comes by itself", async () => {
		const saved: string[] = [];
		const storage = {
			getItem: () => null,
			setItem: (_: string, value: string) => saved.push(value),
			removeItem: () => {},
		};
		const { client, clock, network } = await connected({ storage });
		const sub = client.channel("a").subscribe({ persist: true }, {});
		await clock.pass(0);
		network.socket.answer("subscribe", begun(1));
		await clock.pass(200);
		network.socket.push({ position: { channel: "default:a", position: at(9) } });
		await clock.pass(100);
		expect(sub.position).toBe(at(9));
		expect(saved.at(-1)).toBe(at(9));
		client.close();
	});

	test("ends with the node's refusal", async () => {
		const { client, network } = await connected();
		const sub = client.channel("a").subscribe({ filter: "(" });
		const ready = sub.ready;
		network.socket.answer("subscribe", refused(4400, { field: "filter" }));
		await expect(ready).rejects.toMatchObject({ code: 4400, field: "filter" });
		await expect(messages(sub, 1)).rejects.toMatchObject({ code: 4400 });
		expect(sub.state).toBe("ended");
		client.channel("a").subscribe();
		network.socket.take("subscribe");
		client.close();
	});

	test.each([
		[4503, { temporary: true, retry_after_ms: 300 }, 425],
		[4429, { retry_after_ms: 100 }, 225],
		[4600, {}, 125],
	])("is asked for again after %i", async (code, more, wait) => {
		const { client, clock, network } = await connected();
		const sub = client.channel("a").subscribe();
		network.socket.answer("subscribe", refused(code, more));
		await clock.pass(wait - 1);
		expect(network.socket.has("subscribe")).toBe(false);
		await clock.pass(1);
		network.socket.answer("subscribe", begun(0));
		await sub.ready;
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("subscribes again after 46xx, with the last position, and not after 47xx", async () => {
		const { client, clock, network } = await connected();
		const sub = client.channel("a").subscribe();
		network.socket.answer("subscribe", begun(0));
		network.socket.push(message(1));
		network.socket.push({ unsubscribed: { channel: "default:a", code: 4600, reason: "" } });
		await clock.pass(250);
		const { subscribe } = network.socket.answer("subscribe", begun(1));
		expect(subscribe.position).toBe(at(1));
		network.socket.push({ unsubscribed: { channel: "default:a", code: 4701, reason: "" } });
		expect(sub.state).toBe("ended");
		await expect(messages(sub, 2)).rejects.toMatchObject({ code: 4701 });
		client.close();
	});

	test("with a token of its own asks for a fresh one when it has ended", async () => {
		const { client, clock, network } = await connected();
		const asked: string[] = [];
		client.channel("a").subscribe({
			token: (channel) => {
				if (asked.push(channel) === 2) throw new Error("back end is down");
				return `t${asked.length}`;
			},
		});
		await clock.pass(0);
		expect(network.socket.answer("subscribe", begun(0)).subscribe.token).toBe("t1");
		network.socket.push({ unsubscribed: { channel: "default:a", code: 4601, reason: "" } });
		await clock.pass(1_000);
		expect(network.socket.answer("subscribe", begun(0)).subscribe.token).toBe("t3");
		expect(asked).toEqual(["default:a", "default:a", "default:a"]);
		client.close();
	});

	test("whose token does not come is asked for again, and keeps no pattern waiting", async () => {
		const { client, clock, network } = await connected();
		const give: ((token: string) => void)[] = [];
		client.channel("a").subscribe({ token: () => new Promise((resolve) => give.push(resolve)) });
		client.channel("b.>").subscribe();
		await clock.pass(9_999);
		expect(network.socket.has("subscribe")).toBe(false);
		await clock.pass(1);
		expect(network.socket.take("subscribe").subscribe.channel).toBe("default:b.>");
		give[0]?.("late");
		await clock.pass(250);
		expect(give.length).toBe(2);
		expect(network.socket.has("subscribe")).toBe(false);
		give[1]?.("good");
		await clock.pass(0);
		expect(network.socket.answer("subscribe", begun(0)).subscribe.token).toBe("good");
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("that ends before its token comes is in nobody's way", async () => {
		const { client, clock, network } = await connected();
		let give = (_: string) => {};
		const token = () => new Promise<string>((resolve) => (give = resolve));
		const sub = client.channel("a").subscribe({ token });
		client.channel("b.>").subscribe();
		await sub.unsubscribe();
		expect(network.socket.take("subscribe").subscribe.channel).toBe("default:b.>");
		client.channel("a").subscribe();
		give("late");
		await clock.pass(0);
		expect(network.socket.answer("subscribe", begun(0)).subscribe.token).toBeUndefined();
		expect(network.socket.sent).toEqual([]);
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("that ends while it waits to ask again is in nobody's way", async () => {
		const { client, clock, network } = await connected();
		const sub = client.channel("a").subscribe();
		network.socket.answer("subscribe", refused(4503, { temporary: true }));
		await sub.unsubscribe();
		client.channel("a").subscribe();
		network.socket.answer("subscribe", begun(0));
		await clock.pass(60_000);
		expect(network.socket.sent.filter((f) => !f.ping)).toEqual([]);
		client.close();
	});

	test("that ends while it is asked for is let go of, and another may follow", async () => {
		const { client, network } = await connected();
		void client.channel("a").subscribe().unsubscribe();
		const again = client.channel("a").subscribe();
		network.socket.answer("subscribe", begun(0));
		expect(network.socket.has("subscribe")).toBe(false);
		network.socket.answer("unsubscribe", { unsubscribed: { channel: "default:a" } });
		network.socket.answer("subscribe", begun(0));
		await again.ready;
		network.socket.push(message(1));
		expect(await messages(again, 1)).toEqual([1]);
		client.close();
	});

	test("ends quietly when the client is closed, loudly when the node closes it", async () => {
		const quiet = await connected();
		const sub = quiet.client.channel("a").subscribe();
		const end = messages(sub, 1);
		quiet.client.close();
		expect(await end).toEqual([]);
		const loud = await connected();
		const other = loud.client.channel("a").subscribe();
		loud.network.socket.drop(4206, "revoked");
		await expect(messages(other, 1)).rejects.toMatchObject({ code: 4206 });
	});
});

describe("an application that is slow", () => {
	async function flood(options: object, count: number): Promise<[Setup, Subscription]> {
		const all = await connected();
		const sub = all.client.channel("a").subscribe({ buffer: 4, ...options });
		all.network.socket.answer("subscribe", begun(0));
		for (let n = 1; n <= count; n++) all.network.socket.push(message(n));
		return [all, sub];
	}

	test("but keeps up in the turn is not let go of", async () => {
		const [{ client, clock, network }, sub] = await flood({}, 12);
		expect((await messages(sub, 12)).length).toBe(12);
		await clock.pass(10);
		expect(network.socket.sent).toEqual([]);
		client.close();
	});

	test("is let go of and taken up again when half is free", async () => {
		const [{ client, clock, network }, sub] = await flood({}, 6);
		await clock.pass(0);
		expect(sub.state).toBe("paused");
		network.socket.push(message(7)); // dropped, and read again
		network.socket.answer("unsubscribe", { unsubscribed: { channel: "default:a" } });
		expect(await messages(sub, 3)).toEqual([1, 2, 3]);
		expect(network.socket.has("subscribe")).toBe(false);
		expect(await messages(sub, 1)).toEqual([4]);
		const { subscribe } = network.socket.answer("subscribe", begun(6));
		expect(subscribe.position).toBe(at(6));
		network.socket.push(message(7));
		expect(await messages(sub, 3)).toEqual([5, 6, 7]);
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("has no more than four times as much in one turn", async () => {
		const [{ client, network }] = await flood({}, 40);
		network.socket.take("unsubscribe");
		client.close();
	});

	test("and durable has its connection renewed instead, once it is empty", async () => {
		const all = await connected({ session: "s" }, { session: "s" });
		const sub = all.client.channel("a").subscribe({ buffer: 4, durable: true });
		all.network.socket.answer("subscribe", begun(0, { durable: true }));
		for (let n = 1; n < 64; n++) all.network.socket.push(message(n)); // 64 with `subscribed`
		await all.clock.pass(0);
		all.network.socket.push(message(64));
		expect(all.network.socket.has("unsubscribe")).toBe(false);
		expect((await messages(sub, 62)).at(-1)).toBe(62);
		expect(all.client.state).toBe("connected");
		expect(await messages(sub, 1)).toEqual([63]);
		expect(all.client.state).toBe("retrying");
		await all.clock.pass(250);
		all.network.socket.greet({ session: "s", resumed: true });
		const { subscribe } = all.network.socket.answer("subscribe", begun(3, { resumed: true }));
		expect(subscribe).toEqual({ channel: "default:a", durable: true, position: at(63) });
		for (let n = 4; n <= 65; n++) all.network.socket.push(message(n));
		expect(await messages(sub, 2)).toEqual([64, 65]);
		all.client.close();
	});

	test("and durable does not have it renewed often", async () => {
		const { client, clock, network } = await connected({ session: "s" }, { session: "s" });
		let taken = 0;
		const slow = () => {
			taken++;
			return new Promise<void>((resolve) => clock.setTimeout(resolve, 10));
		};
		client.channel("a").subscribe({ durable: true, buffer: 8 }, { message: slow });
		let acked = 0;
		for (let round = 0; round < 3_000 && taken < 1_000; round++) {
			await clock.pass(5);
			const { socket } = network;
			if (socket.readyState === 0) socket.greet({ session: "s" });
			if (socket.has("subscribe")) {
				socket.answer("subscribe", begun(acked, { resumed: true, durable: true }));
				for (let n = acked + 1; n <= 1_000; n++) socket.push(message(n));
			}
			if (!socket.has("ack")) continue;
			const { id, ack } = socket.take("ack");
			acked = Number.parseInt(ack.position.split("-")[1], 36);
			socket.push({ id: id as number, acked: { channel: "default:a", position: ack.position } });
		}
		expect(taken).toBe(1_000);
		expect(network.sockets.length).toBeLessThan(10);
		client.close();
	});
});

describe("a durable subscription", () => {
	async function durable(): Promise<[Setup, Subscription]> {
		const all = await connected({ session: "s" }, { session: "s" });
		const sub = all.client.channel("a").subscribe({ durable: true });
		all.network.socket.answer("subscribe", begun(0, { durable: true }));
		return [all, sub];
	}

	test("acknowledges what was handled, a while later and all at once", async () => {
		const [{ client, clock, network }, sub] = await durable();
		for (let n = 1; n <= 3; n++) network.socket.push(message(n));
		await messages(sub, 3);
		await clock.pass(99);
		expect(network.socket.has("ack")).toBe(false);
		await clock.pass(1);
		const { ack } = network.socket.answer("ack", { acked: { channel: "default:a" } });
		expect(ack).toEqual({ channel: "default:a", position: at(2) });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("acknowledges a hundred at once, and before the client closes", async () => {
		const [{ client, clock, network }, sub] = await durable();
		for (let n = 1; n <= 105; n++) network.socket.push(message(n));
		await messages(sub, 103);
		expect(network.socket.take("ack").ack.position).toBe(at(99));
		await clock.pass(100);
		expect(network.socket.has("ack")).toBe(false); // one is under way
		client.close();
		expect(network.socket.take("ack").ack.position).toBe(at(102)); // and is not waited for now
		expect(clock.timers.size).toBe(0);
	});

	test("acknowledges the last before the client closes", async () => {
		const [{ client, network }, sub] = await durable();
		network.socket.push(message(1));
		network.socket.push(message(2));
		await messages(sub, 2);
		client.close();
		expect(network.socket.take("ack").ack.position).toBe(at(1));
	});

	test("acknowledges on a new connection when that has brought it again", async () => {
		const [{ client, clock, network }, sub] = await durable();
		for (let n = 1; n <= 3; n++) network.socket.push(message(n));
		await messages(sub, 3);
		void sub[Symbol.asyncIterator]().next(); // all three are handled
		await clock.pass(0);
		network.socket.drop();
		await clock.pass(250);
		network.socket.greet({ session: "s", resumed: true });
		network.socket.answer("subscribe", begun(0, { resumed: true }));
		for (let n = 1; n <= 2; n++) network.socket.push(message(n));
		await clock.pass(1_000);
		expect(network.socket.has("ack")).toBe(false);
		network.socket.push(message(3));
		expect(network.socket.take("ack").ack.position).toBe(at(3));
		client.close();
	});

	test("acknowledges nothing from before a reset", async () => {
		const [{ client, clock, network }, sub] = await durable();
		for (let n = 1; n <= 3; n++) network.socket.push(message(n));
		await messages(sub, 2);
		network.socket.drop();
		await clock.pass(250);
		network.socket.greet({ session: "s", resumed: true });
		network.socket.answer("subscribe", begun(0, { recovered: false, reason: "reset" }));
		expect(network.socket.has("ack")).toBe(false);
		expect(await messages(sub, 1)).toEqual([3]);
		await clock.pass(200);
		expect(network.socket.has("ack")).toBe(false);
		client.close();
	});

	test("acknowledges again what was refused for a while", async () => {
		const [{ client, clock, network }, sub] = await durable();
		for (let n = 1; n <= 3; n++) network.socket.push(message(n));
		await messages(sub, 3);
		await clock.pass(100);
		const wait = { temporary: true, retry_after_ms: 300 };
		network.socket.answer("ack", refused(4429, wait));
		await clock.pass(299);
		expect(network.socket.has("ack")).toBe(false);
		await clock.pass(500);
		expect(network.socket.take("ack").ack.position).toBe(at(2));
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("acknowledges again what was refused, with the next", async () => {
		const [{ client, clock, network }, sub] = await durable();
		const errors: RivuletError[] = [];
		client.on("error", (e) => errors.push(e));
		for (let n = 1; n <= 3; n++) network.socket.push(message(n));
		await messages(sub, 2);
		await clock.pass(100);
		network.socket.answer("ack", refused(4400, { field: "position" }));
		expect(errors).toMatchObject([{ code: 4400, field: "position" }]);
		await messages(sub, 1);
		await clock.pass(100);
		expect(network.socket.take("ack").ack.position).toBe(at(2));
		client.close();
	});
});

describe("positions that are kept", () => {
	function store(initial: Record<string, string> = {}) {
		const map = new Map(Object.entries(initial));
		return {
			map,
			getItem: (key: string) => map.get(key) ?? null,
			setItem: (key: string, value: string) => void map.set(key, value),
			removeItem: (key: string) => void map.delete(key),
		};
	}

	test("are where the next page load goes on", async () => {
		const storage = store({ "rivulet:node.test:position:default:a": at(5) });
		const { client, clock, network } = await connected({ storage });
		const sub = client.channel("a").subscribe({ persist: true, last: 10 });
		await clock.pass(0);
		const { subscribe } = network.socket.answer("subscribe", begun(5));
		expect(subscribe).toEqual({ channel: "default:a", position: at(5) });
		network.socket.push(message(6));
		network.socket.push(message(7));
		await messages(sub, 2);
		await clock.pass(100);
		expect(storage.map.get("rivulet:node.test:position:default:a")).toBe(at(6));
		client.close();
	});

	test("of patterns are one of each stream, under a name of one's own", async () => {
		const storage = store();
		const { client, clock, network } = await connected({ storage });
		const sub = client.channel("t:>").subscribe({ persist: "mine" });
		await clock.pass(0);
		const positions = ["s0AAA001-1-x", "s1AAA001-2-x"];
		network.socket.answer("subscribe", {
			subscribed: { channel: "t:>", positions, recovered: true },
		});
		network.socket.push(message(3, "t:a"));
		network.socket.push(message(4, "t:a"));
		await messages(sub, 2);
		client.close();
		expect(storage.map.get("rivulet:node.test:position:mine")?.split("\n").sort()).toEqual([
			at(3),
			"s1AAA001-2-x",
		]);
	});

	test("of a pattern are kept when there is one of each stream, not before", async () => {
		const storage = store();
		const all = await connected({ storage });
		const { client, clock, network } = all;
		const sub = client.channel("t:>").subscribe({ persist: true, since: 5 });
		await clock.pass(0);
		network.socket.answer("subscribe", { subscribed: { channel: "t:>", recovered: true } });
		for (const n of [1, 2, 3]) network.socket.push(message(n, "t:a"));
		await messages(sub, 3);
		await clock.pass(100);
		expect(storage.map.size).toBe(0);
		network.socket.drop();
		await clock.pass(250);
		network.socket.greet();
		const again = network.socket.answer("subscribe", {
			subscribed: { channel: "t:>", recovered: true },
		});
		expect(again.subscribe).toEqual({ channel: "t:>", since: 5 });
		network.socket.push(message(3, "t:a")); // again
		network.socket.push({ caught_up: { channel: "t:>", positions: [at(3), "s1AAA001-9-x"] } });
		network.socket.push(message(4, "t:a"));
		await messages(sub, 1);
		await clock.pass(100);
		expect(storage.map.get("rivulet:node.test:position:t:>")).toBe(`${at(3)}\ns1AAA001-9-x`);
		client.close();
	});

	test("that are spoilt are told of, and given up", async () => {
		const storage = store({ "rivulet:node.test:position:default:a": "junk" });
		const { client, clock, network } = await connected({ storage });
		const told: Update[] = [];
		client.channel("a").subscribe({ persist: true, last: 10 }, { update: (u) => told.push(u) });
		await clock.pass(0);
		network.socket.answer("subscribe", refused(4400, { field: "position" }));
		await clock.pass(0);
		expect(network.socket.answer("subscribe", begun(0)).subscribe).toEqual({
			channel: "default:a",
			last: 10,
		});
		await settled();
		expect(told.map((u) => u.type)).toEqual(["gap", "subscribed"]);
		client.close();
	});

	test("may be kept slowly, and a storage that fails stops nothing", async () => {
		const written: string[] = [];
		const slow = {
			getItem: async () => null,
			setItem: async (_: string, value: string) => {
				await settled();
				written.push(value);
			},
			removeItem: () => {},
		};
		const { client, clock, network } = await connected({ storage: slow });
		const sub = client.channel("a").subscribe({ persist: true });
		await clock.pass(0);
		network.socket.answer("subscribe", begun(0));
		for (let n = 1; n <= 4; n++) network.socket.push(message(n));
		for (let n = 1; n <= 3; n++) {
			await messages(sub, 1);
			await clock.pass(100);
		}
		client.close();
		await clock.pass(0);
		expect(written.at(-1)).toBe(at(2));

		const broken = {
			getItem: () => {
				throw new Error("denied");
			},
			setItem: () => Promise.reject(new Error("quota")),
			removeItem: () => {},
		};
		const other = await connected({ storage: broken });
		const errors: RivuletError[] = [];
		other.client.on("error", (e) => errors.push(e));
		const kept = other.client.channel("a").subscribe({ persist: true });
		await other.clock.pass(0);
		other.network.socket.answer("subscribe", begun(0));
		for (let n = 1; n <= 2; n++) other.network.socket.push(message(n));
		expect(await messages(kept, 2)).toEqual([1, 2]);
		await other.clock.pass(100);
		expect(errors.map((e) => (e.cause as Error).message)).toEqual(["denied", "quota"]);
		other.client.close();
	});

	test("may be kept by what is no storage: that is told, and stops nothing", async () => {
		const odd: any = {
			getItem: async () => ({ text: at(3) }),
			// biome-ignore lint/suspicious/noThenProperty: a promise of its own library, not of the language
			setItem: () => ({ then: (_: unknown, no: (e: Error) => void) => no(new Error("quota")) }),
			removeItem: () => {},
		};
		const { client, clock, network } = await connected({ storage: odd });
		const errors: RivuletError[] = [];
		client.on("error", (e) => errors.push(e));
		client.channel("a").subscribe({ persist: true }, { message: () => {} });
		await clock.pass(0);
		network.socket.answer("subscribe", begun(0));
		network.socket.push(message(1));
		await settled();
		await clock.pass(100);
		expect(errors.map((e) => (e.cause as Error).message)).toEqual([
			"getItem gave object, not a string",
			"quota",
		]);
		client.close();
	});

	test("begin nothing before they are read", async () => {
		let give = (_: string) => {};
		const storage = {
			getItem: () => new Promise<string>((resolve) => (give = resolve)),
			setItem: () => {},
			removeItem: () => {},
		};
		const { client, clock, network } = setup({ storage });
		client.channel("a").subscribe({ persist: true });
		await clock.pass(0);
		network.socket.greet();
		expect(network.socket.has("subscribe")).toBe(false);
		give(at(8));
		await clock.pass(0);
		expect(network.socket.take("subscribe").subscribe.position).toBe(at(8));
		client.close();
	});
});
