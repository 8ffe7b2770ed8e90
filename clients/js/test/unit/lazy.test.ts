// What is loaded later, when it comes late, or not at all.

import { beforeEach, describe, expect, test, vi } from "vitest";
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

const until = (what: () => boolean) => vi.waitFor(() => expect(what()).toBe(true), 5000);

describe("a part of the SDK that cannot be loaded", () => {
	test("is told, and tried again, until a pattern can begin", async () => {
		const { client, clock, network, errors } = await begin();
		away = true;
		const sub = client.channel("t:>").subscribe();
		await until(() => errors.length === 1);
		expect(errors[0]).toMatchObject({ code: 4503, temporary: true });
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
		const { client, clock, network, errors } = await begin();
		away = true;
		const subs = ["t:>", "t:a"].map((name, i) =>
			client.channel(name).subscribe(i ? { token: () => "x" } : {}),
		);
		await until(() => errors.length === 2);
		for (const sub of subs) await sub.unsubscribe();
		client.channel("t:a").subscribe();
		expect(network.socket.take("subscribe").subscribe).toEqual({ channel: "t:a" });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("of a slow subscription, has it read again over a new connection", async () => {
		const { client, clock, network } = await begin();
		away = true;
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

test("a subscription that is slow for the first time is let go of as soon as that is loaded", async () => {
	const { client, clock, network } = await begin();
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
