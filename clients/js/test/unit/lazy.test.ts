// What is loaded later, when it comes late, or not at all.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Client, RivuletError } from "../../src/index.js";
import { FakeClock, settled } from "./fake/clock.js";
import { Network } from "./fake/socket.js";

let away = false;

beforeEach(async () => {
	away = false;
	vi.resetModules(); // so that nothing was loaded before
	const { chunks } = await import("../../src/lazy.js");
	const { more, choice } = chunks;
	const gone = () => Promise.reject(new TypeError("Failed to fetch dynamically imported module"));
	chunks.more = () => (away ? gone() : more());
	chunks.choice = () => (away ? gone() : choice());
});

const at = (n: number) => `s0AAA001-${n.toString(36)}-x`;

async function begin(options: object = {}) {
	const { Client } = await import("../../src/index.js");
	const clock = new FakeClock();
	const network = new Network();
	const errors: RivuletError[] = [];
	const client: Client = new Client("http://node.test", {
		clock,
		WebSocket: network.WebSocket,
		transports: ["websocket"],
		random: () => 0.5,
		lifecycle: false,
		...options,
	});
	client.on("error", (e) => errors.push(e));
	client.connect();
	await clock.pass(0);
	network.socket.greet();
	await clock.pass(0);
	return { client, clock, network, errors };
}

const push = (network: Network, n: number) =>
	network.socket.push({
		message: { channel: "t:a", offset: n, position: at(n), time: 1, data: n },
	});

const published = (offset: number) => ({
	published: { channel: "t:a", offset, position: at(offset), time: 9, duplicate: false },
});

const until = (what: () => boolean) => vi.waitFor(() => expect(what()).toBe(true), 5000);

describe("a part of the SDK that cannot be loaded", () => {
	test("is told, and tried again, until a pattern can begin", async () => {
		away = true; // also for what is loaded once it has connected
		const { client, clock, network, errors } = await begin();
		const sub = client.channel("t:>").subscribe();
		await until(() => errors.length === 2); // the connection needs it too
		expect(errors[1]).toMatchObject({ code: 4503, temporary: true });
		expect(errors[0]?.message).toContain("was not loaded");
		expect(errors[0]?.advice).not.toBe("");
		expect([sub.state, network.socket.sent]).toEqual(["idle", []]);
		away = false;
		await clock.pass(errors[0]?.retryAfterMs ?? 0);
		await until(() => network.socket.has("subscribe"));
		expect(network.socket.take("subscribe").subscribe).toEqual({ channel: "t:>" });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("keeps nobody waiting who has ended", async () => {
		away = true;
		const { client, clock, network, errors } = await begin();
		const subs = ["t:>", "t:a"].map((name, i) =>
			client.channel(name).subscribe(i ? { token: () => "x" } : {}),
		);
		await until(() => errors.length === 3);
		for (const sub of subs) await sub.unsubscribe();
		client.channel("t:a").subscribe();
		expect(network.socket.take("subscribe").subscribe).toEqual({ channel: "t:a" });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("of a slow subscription, has it read again over a new connection", async () => {
		away = true;
		const { client, clock, network } = await begin();
		const sub = client.channel<number>("t:a").subscribe({ buffer: 2 });
		const begun = (n: number) => ({
			subscribed: { channel: "t:a", position: at(n), recovered: true },
		});
		network.socket.answer("subscribe", begun(0));
		for (let n = 1; n <= 10; n++) push(network, n);
		await clock.pass(1);
		await settled();
		expect(network.socket.has("unsubscribe")).toBe(false);
		const got: number[] = [];
		for await (const { data } of sub) if (got.push(data) === 7) break; // what fits
		expect(network.socket.closedWith).toBeDefined();
		await clock.pass(250);
		network.socket.greet();
		await clock.pass(0);
		const again = network.socket.answer("subscribe", begun(7)).subscribe;
		expect(again).toEqual({ channel: "t:a", position: at(7) });
		for (let n = 8; n <= 10; n++) push(network, n);
		for await (const { data } of sub) if (got.push(data) === 10) break;
		expect(got).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("leaves the transport as it is, and tells", async () => {
		const { client, clock, network, errors } = await begin({ transports: ["websocket", "sse"] });
		away = true;
		network.socket.drop();
		for (let i = 1; i <= 2; i++) {
			await clock.pass(5_000);
			network.socket.drop();
			await until(() => errors.length >= i);
		}
		await clock.pass(5_000);
		network.socket.greet();
		await client.ready();
		expect(client.transport).toBe("websocket");
		client.close();
		expect(clock.timers.size).toBe(0);
	});
});

test("a subscription with what there is none of ends as soon as that is known", async () => {
	const { Client } = await import("../../src/index.js");
	const clock = new FakeClock();
	const network = new Network();
	const { WebSocket } = network;
	const client: Client = new Client("http://node.test", { clock, WebSocket, lifecycle: false });
	const errors: RivuletError[] = [];
	client.on("error", (e) => errors.push(e));
	const subscribe: any = client.channel("t:a").subscribe;
	const sub = subscribe({}, () => {});
	const other = client.channel("t:b").subscribe({ lst: 5 } as object, { message: () => {} });
	client.channel("t:d").subscribe((() => {}) as object); // nobody awaits anything of it
	const well = client.channel("t:c").subscribe({}, { message: () => {} });
	await clock.pass(0);
	network.socket.greet();
	await until(() => errors.length === 3);
	const fix = "handlers: must be an object, as in subscribe({ last: 5 }, { message: (m) => {} })";
	await expect(sub.ready).rejects.toMatchObject({ code: 4400, message: fix });
	await expect(other.ready).rejects.toMatchObject({ code: 4400, field: "lst" });
	expect(well.state).toBe("subscribing");
	client.close();
	expect(clock.timers.size).toBe(0);
});

test("a subscription with what there is none of is let go of, where it has begun before that is known", async () => {
	away = true;
	const { client, clock, network, errors } = await begin();
	const sub = client.channel("t:a").subscribe({ lst: 5 } as object);
	const begun = { subscribed: { channel: "t:a", position: at(0), recovered: true } };
	network.socket.answer("subscribe", begun);
	await until(() => errors.length === 1);
	away = false;
	await clock.pass(errors[0]?.retryAfterMs ?? 0);
	await until(() => sub.state === "ended");
	client.channel("t:a").subscribe({ last: 5 });
	expect(network.socket.has("subscribe")).toBe(false); // the node would refuse a second
	network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:a" } });
	expect(network.socket.answer("subscribe", begun).subscribe).toEqual({ channel: "t:a", last: 5 });
	client.close();
	expect(clock.timers.size).toBe(0);
});

test("a subscription that is slow for the first time is let go of as soon as that is loaded", async () => {
	away = true;
	const { client, clock, network } = await begin();
	away = false;
	const sub = client.channel<number>("t:a").subscribe({ buffer: 2 });
	network.socket.answer("subscribe", {
		subscribed: { channel: "t:a", position: at(0), recovered: true },
	});
	for (let n = 1; n <= 3; n++) push(network, n);
	await clock.pass(1);
	await until(() => network.socket.has("unsubscribe"));
	expect(sub.state).toBe("paused");
	client.close();
	expect(clock.timers.size).toBe(0);
});

describe("without a network nothing is loaded, for browsers remember what they could not load", () => {
	let loaded: string[] = [];
	beforeEach(async () => {
		loaded = [];
		const { chunks } = await import("../../src/lazy.js");
		const { more, choice } = chunks;
		const note = <T>(name: string, open: () => T): T => {
			loaded.push(name);
			return open();
		};
		chunks.more = () => note("more", more);
		chunks.choice = () => note("choice", choice);
	});
	afterEach(() => vi.unstubAllGlobals());

	test("of what is used before the first connection", async () => {
		const { Client } = await import("../../src/index.js");
		const clock = new FakeClock();
		const network = new Network();
		const kept = new Map([["rivulet:node.test:position:t:b", at(7)]]);
		const client: Client = new Client("http://node.test", {
			clock,
			WebSocket: network.WebSocket,
			transports: ["websocket"],
			random: () => 0.5,
			lifecycle: false,
			storage: {
				getItem: (key) => kept.get(key) ?? null,
				setItem: (key, value) => kept.set(key, value),
				removeItem: (key) => kept.delete(key),
			},
		});
		const done = client.channel("t:a").publish(1);
		client.channel("t:>").subscribe();
		client.channel("t:b").subscribe({ persist: true });
		client.channel("t:c").subscribe({ token: () => "x" });
		await clock.pass(0);
		network.socket.drop();
		await clock.pass(1000);
		await settled();
		expect(loaded).toEqual([]);
		network.socket.greet();
		const subscribed = async (name: string) => {
			await until(() => network.socket.has("subscribe"));
			const { subscribe } = network.socket.answer("subscribe", {
				subscribed: { channel: name, position: at(7), recovered: true },
			});
			return subscribe;
		};
		expect(await subscribed("t:c")).toEqual({ channel: "t:c", token: "x" });
		expect(await subscribed("t:>")).toEqual({ channel: "t:>" });
		expect(await subscribed("t:b")).toEqual({ channel: "t:b", position: at(7) });
		network.socket.answer("publish", published(1));
		expect(await done).toMatchObject({ offset: 1 });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("of the choice of another transport", async () => {
		const navigator = { onLine: false };
		vi.stubGlobal("navigator", navigator);
		const { client, clock, network } = await begin({ transports: ["websocket", "sse"] });
		const fails = async () => {
			network.socket.drop();
			await clock.pass(20_000);
			await settled();
		};
		for (let i = 0; i < 3; i++) await fails();
		expect(loaded).not.toContain("choice");
		navigator.onLine = true;
		await fails();
		expect(loaded).toContain("choice");
		client.close();
	});
});

describe("publishing that is not loaded yet", () => {
	test("goes out in the order of the calls, as it was given, once it is", async () => {
		away = true;
		const { client, clock, network, errors } = await begin();
		const data = { n: 1 };
		const all = [client.channel<unknown>("t:a").publish(data)];
		data.n = 2;
		all.push(client.channel<unknown>("t:a").publish(new Uint8Array([7])));
		await until(() => errors.length === 1);
		expect(errors[0]).toMatchObject({ code: 4503, temporary: true });
		expect(network.socket.sent).toEqual([]);
		away = false;
		await clock.pass(errors[0]?.retryAfterMs ?? 0);
		await until(() => network.socket.has("publish"));
		all.push(client.channel<unknown>("t:a").publish(3));
		const sent = [1, 2, 3].map((n) => network.socket.answer("publish", published(n)).publish);
		expect(sent).toMatchObject([{ data: { n: 1 } }, { data_base64: "Bw==" }, { data: 3 }]);
		expect((await Promise.all(all)).map((p) => p.offset)).toEqual([1, 2, 3]);
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("is loaded with the connection, and is there when that is lost", async () => {
		const { client, clock, network } = await begin();
		const lazy = await import("../../src/lazy.js");
		await until(() => lazy.more !== undefined);
		away = true;
		network.socket.drop();
		const done = client.channel("t:a").publish(1);
		await clock.pass(250);
		network.socket.greet();
		network.socket.answer("publish", published(1));
		expect(await done).toMatchObject({ offset: 1 });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("keeps its bounds, its time and its end", async () => {
		away = true;
		const { client, clock, errors } = await begin({ queue: { messages: 3 } });
		const channel = client.channel("t:a");
		const abort = new AbortController();
		const aborted = channel.publish(1, { signal: abort.signal });
		const late = channel.publish(2, { timeout: 10 });
		const closed = channel.publish(3);
		await expect(channel.publish(4)).rejects.toMatchObject({ code: 4429, temporary: true });
		abort.abort();
		await expect(aborted).rejects.toMatchObject({ code: 4503, message: "aborted" });
		await until(() => errors.some((e) => e.message.includes("was not loaded")));
		await clock.pass(10);
		await expect(late).rejects.toMatchObject({ code: 4503, message: "no answer in time" });
		client.close();
		await expect(closed).rejects.toMatchObject({ code: 4503, temporary: false });
		expect(clock.timers.size).toBe(0);
	});
});

test("signs of life begin when that is loaded, with the round trip that is asked for", async () => {
	away = true;
	const { client, clock, network, errors } = await begin();
	const trip = client.roundTrip();
	await until(() => errors.length === 1);
	await clock.pass(100);
	expect(network.socket.has("ping")).toBe(false);
	away = false;
	await clock.pass((errors[0]?.retryAfterMs ?? 0) - 100);
	await until(() => network.socket.has("ping"));
	await clock.pass(7);
	network.socket.take("ping");
	network.socket.push({ pong: {} });
	expect(await trip).toBe(7);
	await clock.pass(25_000);
	network.socket.take("ping");
	await clock.pass(50_000);
	expect(client.state).toBe("retrying"); // nobody answers
	client.close();
	expect(clock.timers.size).toBe(0);
});

test("a token is renewed when that is loaded", async () => {
	away = true;
	const reasons: string[] = [];
	const token = (reason: string) => `for ${reasons.push(reason)}`;
	const { client, clock, network, errors } = await begin({ token });
	network.socket.push({ expiring: { in_ms: 60_000 } });
	await until(() => errors.length === 2);
	expect(reasons).toEqual(["connect"]);
	away = false;
	await clock.pass(errors[1]?.retryAfterMs ?? 0);
	await until(() => network.socket.has("refresh"));
	expect(network.socket.take("refresh").refresh).toEqual({ token: "for 2" });
	expect(reasons).toEqual(["connect", "expiring"]);
	client.close();
	expect(clock.timers.size).toBe(0);
});

test("what to do about a code is true before it is known precisely", async () => {
	away = true;
	const { client, clock } = await begin();
	const { RivuletError } = await import("../../src/index.js");
	const adviceOf = (code: number) => new RivuletError(code, "").advice;
	expect([4408, 4429].map(adviceOf)).toEqual(["Try again later.", "Try again later."]);
	expect(adviceOf(4404)).toContain("Correct the request");
	away = false;
	client.channel("t:>").subscribe();
	await until(() => adviceOf(4404) === "Check the name.");
	expect(adviceOf(4408)).toContain("idempotency key");
	expect(adviceOf(4401)).toContain("a function as token");
	client.close();
	expect(clock.timers.size).toBe(0);
});
