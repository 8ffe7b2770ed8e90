// What goes wrong is told, whoever listens, with its cause.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { RivuletError } from "../../src/index.js";
import { settled } from "./fake/clock.js";
import { connected, setup } from "./fake/setup.js";
import type { FakeSocket } from "./fake/socket.js";

const odd = (options: object): any => options;

const refuse = (socket: FakeSocket, command: string, code: number, more: object = {}) =>
	socket.answer(command, {
		error: { code, message: "the node's text", temporary: false, retry_after_ms: 0, ...more },
	});

const unavailable = { temporary: true, retry_after_ms: 3000 };

let printed: unknown[][] = [];
beforeEach(() => {
	printed = [];
	vi.spyOn(console, "error").mockImplementation((...line) => void printed.push(line));
});
afterEach(() => vi.restoreAllMocks());

/** A client, connected, and what it tells by its `error` event. */
async function told(options: object = {}) {
	const all = await connected({ onError: undefined as any, ...options });
	const events: RivuletError[] = [];
	all.client.on("error", (e) => events.push(e));
	return { ...all, events };
}

describe("a subscription that is refused", () => {
	const message = () => {};

	test.each([4400, 4401, 4403, 4404, 4422])("with %i is told by the client", async (code) => {
		const { client, network, events } = await told();
		client.channel("a").subscribe({}, { message });
		refuse(network.socket, "subscribe", code);
		expect(events).toEqual([expect.objectContaining({ code, message: "the node's text" })]);
		expect(printed).toEqual([]);
		client.close();
	});

	test("is printed where nobody listens", async () => {
		const { client, network } = await connected({ onError: undefined as any });
		client.channel("a").subscribe({}, { message });
		refuse(network.socket, "subscribe", 4403);
		expect(printed).toEqual([[expect.objectContaining({ code: 4403 })]]);
		client.close();
	});

	test("goes to onError where that is given", async () => {
		const { client, network, errors } = await connected();
		client.channel("a").subscribe({}, { message });
		refuse(network.socket, "subscribe", 4403);
		expect([errors, printed]).toEqual([[expect.objectContaining({ code: 4403 })], []]);
		client.close();
	});

	test("is told later too, when it ends for good", async () => {
		const { client, network, events } = await told();
		client.channel("a").subscribe({}, { message });
		network.socket.answer("subscribe", {
			subscribed: { channel: "default:a", position: "s0AAA001-0-x", recovered: true },
		});
		network.socket.push({
			unsubscribed: { channel: "default:a", code: 4700, reason: "no longer allowed" },
		});
		expect(events).toMatchObject([{ code: 4700, message: "no longer allowed" }]);
		client.close();
	});

	test("is told once where it has a handler for that, and to who iterates", async () => {
		const { client, network, events } = await told();
		const updates: unknown[] = [];
		client.channel("a").subscribe({}, { message, update: (u) => updates.push(u) });
		refuse(network.socket, "subscribe", 4403);
		const loop = client.channel("b").subscribe();
		refuse(network.socket, "subscribe", 4404);
		await expect(loop[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 4404 });
		expect(updates).toMatchObject([{ type: "unsubscribed", error: { code: 4403 } }]);
		expect([events, printed]).toEqual([[], []]);
		client.close();
	});

	test("for a while is told from the second time on, each time", async () => {
		const { client, clock, network, events } = await told();
		const sub = client.channel("a").subscribe({}, { message });
		refuse(network.socket, "subscribe", 4503, unavailable);
		expect(events).toEqual([]);
		await clock.pass(4000);
		refuse(network.socket, "subscribe", 4503, unavailable);
		expect(events).toMatchObject([{ code: 4503, message: "the node's text" }]);
		expect(sub.state).toBe("idle");
		await clock.pass(5000);
		refuse(network.socket, "subscribe", 4503, unavailable);
		expect(events).toHaveLength(2);
		client.close();
	});
});

describe("the token of a subscription", () => {
	test.each([["abc\n"], [" abc \r\n"]])("%j is sent without white space", async (token) => {
		const { client, clock, network } = await connected();
		client.channel("a").subscribe({ token: () => token });
		await clock.pass(0);
		expect(network.socket.take("subscribe").subscribe.token).toBe("abc");
		client.close();
	});

	test.each([
		[() => Promise.reject(new Error("no backend")), "the token function failed: no backend"],
		[() => undefined, "the token function failed: the token is undefined, not a string"],
	])(
		"is asked for with waits that grow where there is none, and that is told",
		async (token, text) => {
			const asked = vi.fn(token);
			const { client, clock, events } = await told();
			client.channel("a").subscribe({ token: odd(asked) });
			await clock.pass(1000);
			expect(events[0]).toMatchObject({ code: 4503, field: "token", message: text });
			await clock.pass(60_000);
			expect(asked.mock.calls.length).toBeGreaterThan(8);
			expect(asked.mock.calls.length).toBeLessThan(15);
			expect(events).toHaveLength(asked.mock.calls.length - 1);
			client.close();
			expect(clock.timers.size).toBe(0);
		},
	);
});

describe("a client that an error has closed", () => {
	const closed = async () => {
		const all = await told({ token: "bad" });
		const waits = all.client.channel("a").publish("waits");
		all.network.socket.take("publish");
		all.client.channel("b").subscribe({}, { message: () => {} });
		all.client.channel("c").subscribe({}, { message: () => {} });
		const error = { code: 4206, reason: "the token was revoked", reconnect: false };
		all.network.socket.push({ disconnect: { ...error, retry_after_ms: 0 } });
		return { ...all, waits };
	};

	test("tells that once, not for each subscription", async () => {
		const { client, events } = await closed();
		expect(client.state).toBe("closed");
		expect(events).toMatchObject([{ code: 4206, message: "the token was revoked" }]);
	});

	test("is printed where nobody listens", async () => {
		const { client, network } = await connected({ onError: undefined as any });
		network.socket.drop(4206, "the token was revoked");
		expect(client.state).toBe("closed");
		expect(printed).toEqual([[expect.objectContaining({ code: 4206 })]]);
	});

	test("rejects all that comes later with it", async () => {
		const { client, waits } = await closed();
		const cause = { code: 4206, message: "the token was revoked", advice: "Sign in again." };
		await expect(client.ready()).rejects.toMatchObject(cause);
		await expect(client.channel("a").publish(1)).rejects.toMatchObject(cause);
		await expect(client.channel("a").history()).rejects.toMatchObject(cause);
		expect(() => client.channel("a").subscribe()).toThrow(expect.objectContaining(cause));
		await expect(waits).rejects.toMatchObject({ code: 4504, cause }); // it had been sent
	});

	test("rejects what waited with it", async () => {
		const { client, clock } = setup({ token: () => Promise.reject(new RivuletError(4401, "out")) });
		const waits = client.channel("a").publish(1);
		const sub = client.channel("a").subscribe();
		await clock.pass(0);
		await expect(waits).rejects.toMatchObject({ code: 4401, message: "out" });
		await expect(sub.ready).rejects.toMatchObject({ code: 4401, message: "out" });
	});

	test("by close() says so", async () => {
		const { client } = setup();
		const sub = client.channel("a").subscribe();
		client.close();
		const own = { code: 4503, message: "the client is closed", advice: "Make a new one." };
		await expect(client.ready()).rejects.toMatchObject(own);
		await expect(client.channel("a").publish(1)).rejects.toMatchObject(own);
		expect(() => client.channel("a").subscribe()).toThrow(expect.objectContaining(own));
		const advice = expect.stringContaining("Unless you have ended it yourself");
		await expect(sub.ready).rejects.toMatchObject({ code: 4700, advice });
		expect(printed).toEqual([]);
	});
});

describe("a publish that the node refuses for a while", () => {
	test("rejects with the node's last reason when its time is over, and is told before", async () => {
		const { client, clock, network, events } = await told();
		const waits = client.channel("a").publish(1, { timeout: 6000 });
		refuse(network.socket, "publish", 4503, { ...unavailable, message: "out of disk space" });
		expect(events).toEqual([]);
		await clock.pass(4000);
		refuse(network.socket, "publish", 4503, { ...unavailable, message: "out of disk space" });
		expect(events).toMatchObject([{ code: 4503, message: "out of disk space", temporary: true }]);
		await clock.pass(10_000);
		await expect(waits).rejects.toMatchObject({
			code: 4503,
			message: "timed out: out of disk space",
			retryAfterMs: 3000,
			cause: { message: "out of disk space" },
		});
		client.close();
	});

	test("that had been sent before may be stored", async () => {
		const { client, clock, network } = await told();
		const waits = client.channel("a").publish(1, { timeout: 10_000 });
		refuse(network.socket, "publish", 4504, { ...unavailable, message: "outcome unknown" });
		await clock.pass(10_000);
		await expect(waits).rejects.toMatchObject({
			code: 4504,
			message: "timed out: outcome unknown",
		});
		client.close();
	});
});

describe("a connect that is refused", () => {
	test.each([
		[{ name: "x".repeat(65) }, "name", "name: the node's text"],
		[{ session: "a b" }, "session", "session: the node's text"],
	])("for %o closes the client at once", async (options, field, text) => {
		const { client, clock, network, states } = setup(options);
		client.connect();
		await clock.pass(0);
		network.socket.open();
		refuse(network.socket, "connect", 4400, { field });
		expect(states.at(-1)).toMatchObject({
			state: "closed",
			error: { code: 4400, field, message: text },
		});
		expect(clock.timers.size).toBe(0);
	});

	test("for a while is tried again when the node says", async () => {
		const { client, clock, network, states } = setup({ session: "phone" });
		client.connect();
		await clock.pass(0);
		network.socket.open();
		refuse(network.socket, "connect", 4503, { ...unavailable, field: "session" });
		const last = states.at(-1);
		expect(last).toMatchObject({ state: "retrying", error: { code: 4503 } });
		expect(last?.retryIn).toBeGreaterThanOrEqual(3000);
		client.close();
	});
});

describe("an error", () => {
	test("names the field, and is whole as JSON", async () => {
		const { client, network } = await connected();
		const done = client.channel("a").history({ limit: 5000 });
		refuse(network.socket, "history", 4400, { field: "limit", message: "is 5000, at most 1000" });
		const error = await done.catch((e) => e);
		expect(String(error)).toBe("RivuletError: limit: is 5000, at most 1000");
		expect(JSON.parse(JSON.stringify(error))).toEqual({
			name: "RivuletError",
			message: "limit: is 5000, at most 1000",
			code: 4400,
			field: "limit",
			temporary: false,
			retryAfterMs: 0,
			advice: "Correct the request; the same one fails again.",
		});
		client.close();
	});
});

describe("a mistake is refused with what is meant", () => {
	const fix = "must be an object, as in subscribe({ last: 5 }, { message: (m) => {} })";
	test.each([
		[[() => {}], "options", fix],
		[["last"], "options", fix],
		[[null], "options", fix],
		[[{}, () => {}], "handlers", fix],
	])("subscribe(...%o)", async (given, field, text) => {
		const { client } = setup();
		const subscribe: any = client.channel("a").subscribe;
		expect(() => subscribe(...given)).toThrow(
			expect.objectContaining({ code: 4400, field, message: `${field}: ${text}` }),
		);
		client.channel("a").subscribe(); // nothing is left of it
		client.close();
	});

	test.each([[undefined], [null], [""]])("channel(%j), by the node", (name) => {
		const { client } = setup();
		expect(client.channel(odd(name as any)).name).toBe("default:"); // which it refuses
		client.close();
	});

	test("persist without a storage, which then goes on without", async () => {
		const { client, network, events } = await told();
		client.channel("a").subscribe({ persist: true }, { message: () => {} });
		expect(events).toMatchObject([
			{
				code: 4400,
				field: "persist",
				message: "persist: nothing is kept without the option storage",
			},
		]);
		expect(network.socket.take("subscribe").subscribe).toEqual({ channel: "default:a" });
		client.close();
	});

	test("durable without a session", async () => {
		const { client, network, events } = await told();
		const sub = client.channel("a").subscribe({ durable: true }, { message: () => {} });
		const error = {
			code: 4400,
			field: "durable",
			message: "durable: needs the client's option session",
		};
		await expect(sub.ready).rejects.toMatchObject(error);
		expect(events).toMatchObject([error]);
		expect(network.socket.has("subscribe")).toBe(false);
		client.close();
	});

	test.each([
		[new ArrayBuffer(3), "[object ArrayBuffer]"],
		[new Blob(["a"]), "[object Blob]"],
		[new Map([[1, 2]]), "[object Map]"],
		[new Set([1]), "[object Set]"],
		[Promise.resolve(1), "[object Promise]"],
	])("to publish %o", async (data, text) => {
		const { client, network } = await connected();
		const error = { code: 4400, field: "data", message: `data: ${text} is not a JSON value` };
		await expect(client.channel("a").publish(data)).rejects.toMatchObject(error);
		expect(network.socket.has("publish")).toBe(false);
		client.close();
	});

	test.each([[{}], [Object.create(null)], [Object.create({})], [new (class A {})()]])(
		"but not to publish %o",
		async (data) => {
			const { client, network } = await connected();
			void client.channel("a").publish(data);
			expect(network.socket.take("publish").publish.data).toEqual({});
			client.close();
		},
	);
});

describe("what never was a connection", () => {
	test("says to where, and what may be the cause", async () => {
		const { client, clock, network, states } = setup();
		client.connect();
		await clock.pass(0);
		network.socket.drop();
		expect(states.at(-1)?.error).toMatchObject({
			code: 1006,
			message: "no connection",
			advice: expect.stringMatching(/^It is tried again\. .*a node.*session\.origins/),
		});
		client.close();
	});

	test("has the text of an error event, as of ws", async () => {
		const { client, clock, network, states } = setup();
		client.connect();
		await clock.pass(0);
		network.socket.onerror?.({ message: "connect ECONNREFUSED 127.0.0.1:9" });
		network.socket.onclose?.({ code: 1006, reason: "" });
		expect(states.at(-1)?.error?.message).toBe("connect ECONNREFUSED 127.0.0.1:9");
		client.close();
	});

	const answers: [string, () => Promise<Response>, string][] = [
		[
			"nothing answers",
			() => Promise.reject(new TypeError("Failed to fetch")),
			"over HTTP nothing answers this page at http://node.test either: TypeError: Failed to fetch",
		],
		[
			"it is no node",
			async () => Response.json({ code: 404 }, { status: 404 }),
			"no node answers at http://node.test/v1/poll, but HTTP 404",
		],
		[
			"a node is there",
			async () => Response.json({ code: 200, message: "" }),
			"http://node.test answers over HTTP, but lets no WebSocket through",
		],
	];
	test.each(answers)("says what HTTP tells: %s", async (_, answer, text) => {
		const transports = ["websocket", "sse"] as const;
		const { client, clock, network, states } = setup({ transports, fetch: answer });
		client.connect();
		await clock.pass(0);
		network.socket.drop();
		for (let i = 0; i < 20; i++) await settled(); // what it asks over HTTP
		await network.next(clock);
		(await network.next(clock)).drop();
		expect(states.at(-1)?.error?.message).toBe(`no connection: ${text}`);
		client.close();
	});
});
