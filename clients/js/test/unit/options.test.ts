// What an application gives that cannot be meant, and what it is told of it.

import { afterEach, describe, expect, test, vi } from "vitest";
import { Client } from "../../src/index.js";
import "../../src/transport/poll.js";
import { connected, setup } from "./fake/setup.js";
import { Network } from "./fake/socket.js";
import { polled } from "./fake/web.js";

afterEach(() => vi.unstubAllGlobals());

const odd = (options: object): any => options;

describe("refuses at once", () => {
	test.each([[[]], [["ws"]], [["websocket", "longpoll"]]])("transports %j", (transports) => {
		expect(() => new Client("http://node.test", odd({ transports }))).toThrow(
			expect.objectContaining({
				code: 4400,
				field: "transports",
				message: "transports: must be of websocket, sse, poll",
			}),
		);
	});

	test("an address with the path of the protocol, but not a path before it", () => {
		for (const url of ["ws://node.test/v1/ws", "https://node.test/a/v1/ws/", "node.test"])
			expect(() => new Client(url)).toThrow(/^url: .* without \/v1\/ws$/);
		new Client("wss://node.test/v1/ws/below").close();
	});

	test("options and handlers of a subscription that there are none of", () => {
		const { client } = setup();
		const ch = client.channel("a");
		expect(() => ch.subscribe(odd({ lasts: 5 }))).toThrow(/^lasts: options are position, .*last,/);
		expect(() => ch.subscribe({}, odd({ onMessage() {} }))).toThrow(
			/^onMessage: handlers are message, update$/,
		);
		ch.subscribe({ last: 5 }, { message() {} }); // nothing is left of those
		client.close();
	});

	test("events that there are none of", () => {
		const { client } = setup();
		expect(() => client.on("conected" as any, () => {})).toThrow(
			/^conected: events are state, round_trip, gap, error, message$/,
		);
		client.close();
	});

	test.each([
		[{ last: Number.NaN }, "last: NaN"],
		[{ since: new Date("yesterday") }, "since: NaN"],
		[{ maxRate: Number.POSITIVE_INFINITY }, "maxRate: Infinity"],
		[{ buffer: Number.NaN }, "buffer: NaN"],
	])("of a subscription what is no number: %o", (options, text) => {
		const { client } = setup();
		expect(() => client.channel("a").subscribe(options)).toThrow(`${text} is not a JSON value`);
		client.channel("a").subscribe(); // nothing is left of it
		client.close();
	});

	const circle: any = {};
	circle.circle = circle;
	test.each([
		[Number.NaN],
		[Number.NEGATIVE_INFINITY],
		[undefined],
		[() => 1],
		[Symbol("x")],
		[1n],
		[new Date("yesterday")],
		[circle],
	])("to publish %s", async (data) => {
		const { client, network } = await connected();
		const done = client.channel("a").publish(data);
		await expect(done).rejects.toMatchObject({
			code: 4400,
			field: "data",
			message: expect.stringMatching(/^data: .*is not a JSON value$/),
		});
		expect(network.socket.has("publish")).toBe(false);
		client.close();
	});

	test.each([null, 0, "", false, [], "null", new Date(0)])("not to publish %o", async (data) => {
		const { client, network } = await connected();
		void client.channel("a").publish(data);
		expect(network.socket.take("publish").publish.data).toEqual(JSON.parse(JSON.stringify(data)));
		client.close();
	});

	test.each([{ ttl: Number.NaN }, { expectedOffset: Number.NaN }, { deliverAt: new Date("x") }])(
		"to publish with %o",
		async (options) => {
			const { client, network } = await connected();
			const [field] = Object.keys(options);
			const done = client.channel("a").publish(1, options);
			await expect(done).rejects.toMatchObject({ code: 4400, field });
			expect(network.socket.has("publish")).toBe(false);
			client.close();
		},
	);

	test("a second subscription, and says what helps", () => {
		const { client } = setup();
		client.channel("a").subscribe();
		expect(() => client.channel("a").subscribe()).toThrow(
			expect.objectContaining({ code: 4409, advice: expect.stringContaining("unsubscribe()") }),
		);
		client.close();
	});
});

describe("refuses once it has connected", () => {
	test("options of the client that there are none of", async () => {
		const { client, clock, network, states } = await connected(odd({ tokne: "abc" }));
		expect(states.at(-1)).toMatchObject({
			state: "closed",
			error: {
				code: 4400,
				field: "tokne",
				message: expect.stringMatching(/^tokne: options are urls, token, /),
			},
		});
		expect(client.state).toBe("closed");
		expect(network.socket.closedWith).toBe(1000);
		expect(clock.timers.size).toBe(0);
	});

	test.each([
		[{ storage: true }, "storage", "storage: must have getItem, setItem and removeItem, "],
		[{ codec: "protobuf" }, "codec", "codec: must be one, as protobuf of "],
	])("%o", async (options, field, text) => {
		const { client, clock, states } = setup({
			...odd(options),
			transports: ["poll"], // no WebSocket opens without the name of its subprotocol
			fetch: (async () => polled("")) as typeof fetch,
		});
		client.connect();
		await vi.waitFor(() => clock.pass(0).then(() => expect(client.state).toBe("closed")));
		const error = { code: 4400, field, message: expect.stringContaining(text) };
		expect(states.at(-1)).toMatchObject({ error });
	});

	test("options of what it asks", async () => {
		const { client, clock, network } = setup();
		const ch = client.channel("a");
		const asked = [
			ch.publish(1, odd({ idempotencykey: "k" })),
			ch.history(odd({ direction: "asc" })),
			ch.presence(odd({ count: true })),
		];
		const every = { idempotencyKey: "k", deliverAt: 1e13, expectedOffset: 1, excludeSelf: true };
		void ch.publish(2, { ...every, headers: {}, ttl: 1, delay: 1, conflationKey: "k", updates: 1 });
		void ch.history({ after: "p", before: "p", since: 1, limit: 1, order: "asc", fold: "latest" });
		void ch.presence({ limit: 1, after: "p", counts: true });
		await clock.pass(0);
		network.socket.greet();
		const errors = await Promise.all(asked.map((a) => a.catch((e: Error) => e.message)));
		expect(errors).toEqual([
			expect.stringMatching(/^idempotencykey: options are idempotencyKey, /),
			"direction: options are after, before, since, limit, order, fold",
			"count: options are limit, after, counts",
		]);
		expect(network.socket.sent.map((f) => Object.keys(f)[1])).toEqual([
			"publish",
			"history",
			"presence",
		]);
		client.close();
	});
});

describe("the token", () => {
	test("that fits into no frame ends the client, and says why", async () => {
		const { client, clock, network, states } = setup({ token: "x".repeat(70_000) });
		client.connect();
		await clock.pass(0);
		network.socket.open();
		const error = { code: 4413, message: expect.stringContaining("at most 65536") };
		expect(states.at(-1)).toMatchObject({ state: "closed", error });
		expect(clock.timers.size).toBe(0);
	});

	test.each([["abc\n"], [() => " abc \r\n"]])(
		"is sent without the white space around it",
		async (token) => {
			const { client, clock, network } = setup({ token });
			client.connect();
			await clock.pass(0);
			network.socket.open();
			expect(network.socket.take("connect").connect?.token).toBe("abc");
			client.close();
		},
	);

	test.each([
		[() => Promise.reject(new Error("no backend")), "the token function failed: no backend"],
		[() => ({ token: "abc" }), "the token function failed: the token is object, not a string"],
		[() => undefined, "the token function failed: the token is undefined, not a string"],
	])("is asked for again where the function gives none", async (token, message) => {
		const { client, clock, states, network } = setup(odd({ token }));
		client.connect();
		await clock.pass(0);
		const error = { code: 4503, field: "token", message };
		expect(states.at(-1)).toMatchObject({ state: "retrying", error });
		expect(network.sockets).toHaveLength(0);
		client.close();
	});
});

describe("without a WebSocket", () => {
	test("says which option helps where no other transport may be used", async () => {
		vi.stubGlobal("WebSocket", undefined);
		const { client, clock, states } = setup(odd({ WebSocket: undefined }));
		client.connect();
		await clock.pass(0);
		const error = { code: 4400, advice: expect.stringContaining("option WebSocket") };
		expect(states.at(-1)).toMatchObject({ state: "closed", error });
		expect(clock.timers.size).toBe(0);
	});

	test("begins with the next transport", async () => {
		vi.stubGlobal("WebSocket", undefined);
		const asked: string[] = [];
		const { client, clock, states } = setup(
			odd({
				WebSocket: undefined,
				transports: undefined,
				fetch: (url: string) => {
					asked.push(url);
					return new Promise(() => {});
				},
			}),
		);
		client.connect();
		await vi.waitFor(() => expect(asked[0]).toContain("http://node.test/v1/"));
		expect(states.map((s) => s.state)).toEqual(["connecting"]);
		client.close();
		await clock.pass(0);
	});
});

test("a subscription that fits into no frame leaves its name to another", async () => {
	const { client, network } = await connected();
	const sub = client.channel("t:>").subscribe({ filter: "x".repeat(70_000) });
	await expect(sub.ready).rejects.toMatchObject({ code: 4413 });
	client.channel("t:>").subscribe();
	expect(network.socket.take("subscribe").subscribe).toEqual({ channel: "t:>" });
	client.close();
});

test("a time without end is as long as a timer can be", async () => {
	vi.useFakeTimers();
	const network = new Network();
	const { WebSocket } = network;
	const client = new Client("http://node.test", { WebSocket, transports: ["websocket"] });
	let error: unknown;
	const timeout = Number.POSITIVE_INFINITY;
	client
		.channel("a")
		.publish(1, { timeout })
		.catch((e) => {
			error = e;
		});
	await vi.advanceTimersByTimeAsync(600_000);
	expect(error).toBeUndefined();
	client.close();
	await vi.advanceTimersByTimeAsync(0);
	expect(error).toMatchObject({ code: 4503, message: "the client is closed" });
	vi.useRealTimers();
});

test("what needs a WebSocket ends where none may be used, and waits where one may come", async () => {
	const poll = { fetch: (async () => polled("")) as typeof fetch };
	const { client, clock } = setup({ ...poll, transports: ["poll"], session: "s" });
	const { ready } = client.channel("a").subscribe({ durable: true });
	const refused = ready.catch((e) => e);
	await clock.pass(100);
	expect(await refused).toMatchObject({
		code: 4400,
		field: "durable",
		message: "durable: needs a WebSocket, which the option transports leaves out",
	});
	client.close();

	const storage = { getItem: () => `poll ${Date.now()}`, setItem() {}, removeItem() {} };
	const other = setup({ ...poll, transports: ["websocket", "poll"], storage, session: "s" });
	const errors: unknown[] = [];
	other.client.on("error", (e) => errors.push(e));
	const waits = other.client.channel("a").subscribe({ durable: true });
	await other.clock.pass(100);
	expect([other.client.transport, waits.state]).toEqual(["poll", "idle"]);
	expect(errors).toMatchObject([{ code: 4422, field: "durable" }]);
	other.client.close();
});

test("what waits when the client is closed is not worth another try with it", async () => {
	const { client } = setup();
	const waits = client.channel("a").publish(1);
	client.close();
	await expect(waits).rejects.toMatchObject({ code: 4503, temporary: false });
});
