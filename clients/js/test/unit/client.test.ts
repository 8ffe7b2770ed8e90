// The connection: states, reconnects, tokens, signs of life.

import { describe, expect, test } from "vitest";
import { Client, RivuletError } from "../../src/index.js";
import { connected, setup } from "./fake/setup.js";

const bye = (code: number, more: object = {}) => ({
	disconnect: { code, reason: "bye", reconnect: true, retry_after_ms: 0, ...more },
});

describe("connecting", () => {
	test("sends connect first and is connected at its answer", async () => {
		const { client, clock, network, states } = setup({ token: "t1", name: "app" });
		expect(client.state).toBe("initialized");
		client.connect();
		await clock.pass(0);
		const ws = network.socket;
		expect(ws.url).toBe("ws://node.test/v1/ws");
		expect(ws.offered).toEqual(["rivulet.v1.json"]);
		ws.open();
		expect(ws.sent).toEqual([{ id: 1, connect: { token: "t1", name: "app", version: "0.1.0" } }]);
		expect(client.state).toBe("connecting");
		ws.greet();
		expect(states.map((s) => s.state)).toEqual(["connecting", "connected"]);
		expect(states[1]).toMatchObject({ transport: "websocket", node: "n1", client: "c1" });
		client.close();
		expect(ws.closedWith).toBe(1000);
		expect(clock.timers.size).toBe(0);
	});

	test("says at the handshake that it was connected before", async () => {
		const { client, clock, network } = await connected();
		network.socket.drop();
		await clock.pass(250);
		expect(network.socket.url).toBe("ws://node.test/v1/ws?resume=1");
		client.close();
	});

	test.each([
		["https://a.example", "wss://a.example/v1/ws"],
		["http://a.example:8080/", "ws://a.example:8080/v1/ws"],
		["ws://a.example/rt/", "ws://a.example/rt/v1/ws"],
		["wss://[::1]:1/x/y", "wss://[::1]:1/x/y/v1/ws"],
	])("%s is reached at %s", async (url, want) => {
		const { network, clock } = setup();
		const client = new Client(url, { clock, WebSocket: network.WebSocket, lifecycle: false });
		client.connect();
		await clock.pass(0);
		expect(network.socket.url).toBe(want);
		client.close();
	});

	test.each(["", "a.example", "ftp://a.example", "http://", "http://u:p@a.example", "http://a?b"])(
		"refuses the address %j",
		(url) => expect(() => new Client(url)).toThrow(RivuletError),
	);

	test("takes the nodes in turn", async () => {
		const { client, clock, network } = setup({ urls: ["http://b.test", "http://c.test"] });
		client.connect();
		const seen: string[] = [];
		for (let i = 0; i < 4; i++) {
			const socket = await network.next(clock);
			seen.push(new URL(socket.url).host);
			socket.drop();
		}
		expect(seen).toEqual(["node.test", "b.test", "c.test", "node.test"]);
		client.close();
	});

	test("gives an attempt up after the connect timeout", async () => {
		const { client, clock, network, states } = setup({ connectTimeout: 3_000 });
		client.connect();
		await clock.pass(2_999);
		network.socket.open();
		expect(client.state).toBe("connecting");
		await clock.pass(1);
		expect(client.state).toBe("retrying");
		expect(states.at(-1)?.error?.message).toContain("in time");
		expect(network.socket.readyState).toBe(3);
		client.close();
	});

	test("a listener may close the client at any change", async () => {
		for (const at of ["connecting", "connected", "retrying"]) {
			const { client, clock, network } = setup();
			client.on("state", ({ state }) => state === at && client.close());
			client.connect();
			await clock.pass(0);
			if (at !== "connecting") network.socket.greet();
			if (at === "retrying") network.socket.drop();
			await clock.pass(60_000);
			expect(client.state).toBe("closed");
			expect(clock.timers.size).toBe(0);
		}
	});

	test("what listeners throw is told, of asynchronous ones too", async () => {
		const { client, clock, errors, states } = setup();
		client.on("state", () => {
			throw new Error("at once");
		});
		client.on("state", () => Promise.reject(new Error("later")));
		client.connect();
		await clock.pass(0);
		expect(errors.map((e) => (e as Error).message)).toEqual(["at once", "later"]);
		expect(states.map((s) => s.state)).toEqual(["connecting"]);
		client.close();
	});

	test("ready resolves when connected, rejects when closed or aborted", async () => {
		const { client, clock, network } = setup();
		const ready = client.ready();
		const abort = new AbortController();
		const aborted = client.ready(abort.signal);
		abort.abort(new Error("enough"));
		await expect(aborted).rejects.toThrow("enough");
		await clock.pass(0);
		network.socket.greet();
		await ready;
		await client.ready();
		client.close();
		await expect(client.ready()).rejects.toMatchObject({ code: 4503 });
	});
});

describe("retrying", () => {
	test("waits evenly below the doubled base, and begins anew after connected", async () => {
		const { client, clock, network, states } = setup({ random: () => 1 });
		client.connect();
		const waits: unknown[] = [];
		for (let i = 0; i < 9; i++) {
			(await network.next(clock)).drop();
			waits.push(states.at(-1)?.retryIn);
		}
		expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
		const opened = await network.next(clock);
		opened.open();
		opened.drop();
		expect(states.at(-1)?.retryIn).toBe(20_000); // open is not connected
		const greeted = await network.next(clock);
		greeted.greet();
		greeted.drop();
		expect(states.at(-1)?.retryIn).toBe(250);
		client.close();
	});

	test("waits as long as the node says, whatever wakes it", async () => {
		const { client, clock, network, states } = await connected();
		network.socket.push(bye(4003, { retry_after_ms: 7_000 }));
		network.socket.drop(4003);
		expect(states.at(-1)).toMatchObject({ state: "retrying", retryIn: 7_125 });
		expect(states.at(-1)?.error).toMatchObject({ code: 4003, retryAfterMs: 7_000 });
		client.connect();
		await clock.pass(6_999);
		expect(network.sockets.length).toBe(1);
		await clock.pass(1);
		expect(network.sockets.length).toBe(2);
		client.close();
	});

	test("reconnect outweighs the range", async () => {
		const stays = await connected();
		stays.network.socket.push(bye(4000, { reconnect: false }));
		stays.network.socket.drop(4000);
		expect(stays.client.state).toBe("closed");
		const comes = await connected();
		comes.network.socket.push(bye(4202, { reconnect: true }));
		comes.network.socket.drop(4202);
		expect(comes.client.state).toBe("retrying");
		comes.client.close();
	});

	test("leaves a node that has said good-bye and stays", async () => {
		const { client, clock, network, states } = await connected();
		network.socket.push(bye(4000));
		await clock.pass(0);
		expect(states.at(-1)).toMatchObject({ state: "retrying", error: { code: 4000 } });
		client.close();
	});

	test.each([1000, 1001, 1005, 1006, 1011, 1012, 1013, 3999, 4000, 4002, 4199, 4999 + 1])(
		"comes back after %i",
		async (code) => {
			const { client, network, clock } = await connected();
			network.socket.drop(code);
			expect(client.state).toBe("retrying");
			client.close();
			expect(clock.timers.size).toBe(0);
		},
	);

	test.each([1002, 1003, 1007, 1008, 1009, 1010, 4200, 4202, 4203, 4204, 4205, 4206, 4399])(
		"stays away after %i",
		async (code) => {
			const { client, network, clock, states } = await connected();
			network.socket.drop(code, "why");
			expect(client.state).toBe("closed");
			expect(states.at(-1)?.error).toMatchObject({ code, message: "why" });
			expect(states.at(-1)?.error?.advice).not.toBe("");
			expect(clock.timers.size).toBe(0);
		},
	);

	test("backs off further from a node that speaks garbage", async () => {
		const { client, clock, network, states } = setup({ random: () => 1 });
		client.connect();
		const waits: unknown[] = [];
		const junk = ["<html>", "{", "[]", 7, new ArrayBuffer(3), '{"message":{"offset":"x"}}', "null"];
		for (const text of junk) {
			const socket = await network.next(clock);
			socket.greet();
			socket.pushText(text);
			waits.push(states.at(-1)?.retryIn);
		}
		expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 16_000]);
		client.close();
	});

	test("a message without its parts is garbage, not a crash", async () => {
		const { client, network } = await connected();
		client.channel("a").subscribe();
		network.socket.answer("subscribe", {
			subscribed: { channel: "default:a", position: "s0AAA001-0-x", recovered: true },
		});
		network.socket.push({ message: { channel: "default:a", offset: 1 } });
		expect(client.state).toBe("retrying");
		client.close();
	});

	test("an attempt that only tells of an error has failed, as in Node 22", async () => {
		const { client, clock, network, states } = setup();
		client.connect();
		await clock.pass(0);
		const { socket } = network;
		socket.onClosed = () => socket.onerror?.({}); // once more
		socket.onerror?.({});
		expect(states.map((s) => s.state)).toEqual(["connecting", "retrying"]);
		expect(states.at(-1)?.error).toMatchObject({ code: 1006 });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("an attempt that fails is made again, whatever code a runtime has for it", async () => {
		const { client, clock, network } = setup();
		client.connect();
		await clock.pass(0);
		const { socket } = network;
		socket.onerror?.({});
		socket.onclose?.({ code: 1002, reason: "Expected 101 status code" });
		expect(client.state).toBe("retrying");
		client.close();
	});

	test("takes no other subprotocol", async () => {
		const { client, clock, network } = setup();
		client.connect();
		await clock.pass(0);
		network.socket.open("rivulet.v2.json");
		expect(client.state).toBe("retrying");
		client.close();
	});

	test("disconnect stops it, connect takes it up", async () => {
		const { client, clock, network, states } = await connected();
		network.socket.drop();
		client.disconnect();
		expect(client.state).toBe("disconnected");
		expect(clock.timers.size).toBe(0);
		await clock.pass(60_000);
		expect(network.sockets.length).toBe(1);
		client.connect();
		await clock.pass(0);
		network.socket.greet();
		expect(states.at(-1)?.state).toBe("connected");
		client.close();
	});
});

describe("tokens", () => {
	test("are asked for at every connect", async () => {
		const reasons: string[] = [];
		const token = (reason: string) => `t${reasons.push(reason)}`;
		const { client, clock, network } = setup({ token });
		client.connect();
		await clock.pass(0);
		network.socket.open();
		expect(network.socket.take("connect").connect.token).toBe("t1");
		network.socket.drop();
		await clock.pass(250);
		network.socket.open();
		expect(network.socket.take("connect").connect.token).toBe("t2");
		expect(reasons).toEqual(["connect", "connect"]);
		client.close();
	});

	test("one that is refused is asked for once more, then the client closes", async () => {
		const reasons: string[] = [];
		const { client, clock, network, states } = setup({
			token: async (reason) => `t${reasons.push(reason)}`,
		});
		client.connect();
		for (let i = 0; i < 2; i++) {
			await clock.pass(1_000);
			network.socket.open();
			network.socket.answer("connect", {
				error: { code: 4401, message: "bad token", temporary: false, retry_after_ms: 0 },
			});
			network.socket.drop(4201, "token not valid");
		}
		expect(reasons).toEqual(["connect", "rejected"]);
		expect(states.at(-1)).toMatchObject({ state: "closed", error: { code: 4401 } });
		expect(clock.timers.size).toBe(0);
	});

	test("a fixed one that is refused closes the client at once", async () => {
		for (const code of [4006, 4201]) {
			const { client, network, states } = await connected({ token: "t" });
			network.socket.drop(code);
			expect(client.state).toBe("closed");
			expect(states.at(-1)?.error?.code).toBe(code);
		}
	});

	test("one that has expired is replaced, as often as it takes", async () => {
		const reasons: string[] = [];
		const { client, clock, network } = setup({ token: (reason) => `t${reasons.push(reason)}` });
		client.connect();
		for (let i = 0; i < 3; i++) {
			await clock.pass(1_000);
			network.socket.greet();
			network.socket.drop(4006);
		}
		expect(reasons).toEqual(["connect", "rejected", "rejected"]);
		client.close();
	});

	test("are refreshed when the node says that they expire", async () => {
		const reasons: string[] = [];
		const { client, clock, network } = await connected({
			token: async (reason) => {
				if (reasons.push(reason) === 2) throw new Error("back end is down");
				return `t${reasons.length}`;
			},
		});
		network.socket.push({ expiring: { in_ms: 20_000 } });
		await clock.pass(0);
		expect(network.socket.has("refresh")).toBe(false);
		await clock.pass(250);
		network.socket.answer("refresh", {
			error: { code: 4503, message: "", temporary: true, retry_after_ms: 1_000 },
		});
		await clock.pass(1_250);
		expect(network.socket.take("refresh").refresh.token).toBe("t4");
		expect(reasons).toEqual(["connect", "expiring", "expiring", "expiring"]);
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("4401 or 4403 from the application gives up, all else is tried again", async () => {
		for (const [thrown, state] of [
			[new RivuletError(4401, "signed out"), "closed"],
			[new RivuletError(4403, "not allowed"), "closed"],
			[new RivuletError(4503, "later"), "retrying"],
			[new RivuletError(4404, "no such user yet"), "retrying"],
			[new Error("fetch failed"), "retrying"],
			["a string", "retrying"],
		] as const) {
			const { client, clock } = setup({ token: () => Promise.reject(thrown) });
			client.connect();
			await clock.pass(0);
			expect(client.state).toBe(state);
			client.close();
			expect(clock.timers.size).toBe(0);
		}
	});

	test("one that never comes is given up", async () => {
		const { client, clock, states } = setup({ token: () => new Promise(() => {}) });
		client.connect();
		await clock.pass(10_000);
		expect(states.at(-1)).toMatchObject({ state: "retrying", error: { code: 4408 } });
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("what comes of an attempt that is over is dropped", async () => {
		const give: ((token: string) => void)[] = [];
		const { client, clock, network } = setup({ token: () => new Promise((r) => give.push(r)) });
		client.connect();
		await clock.pass(0);
		client.disconnect();
		give[0]?.("late");
		await clock.pass(0);
		expect(network.sockets.length).toBe(0);
		client.close();
	});
});

describe("signs of life", () => {
	test("asks after silence, and takes more silence for the end", async () => {
		const { client, clock, network, states } = await connected({}, { ping_interval: 10 });
		await clock.pass(9_999);
		expect(network.socket.has("ping")).toBe(false);
		await clock.pass(1);
		network.socket.take("ping");
		await clock.pass(19_999);
		expect(client.state).toBe("connected");
		await clock.pass(1);
		expect(states.at(-1)).toMatchObject({ state: "retrying", error: { code: 4001 } });
		expect(network.sockets[0]?.readyState).toBe(3);
		client.close();
	});

	test("anything that comes will do", async () => {
		const { client, clock, network } = await connected({}, { ping_interval: 10 });
		for (let i = 0; i < 20; i++) {
			await clock.pass(9_000);
			network.socket.push({ ping: {} });
			network.socket.take("pong");
		}
		expect(network.socket.has("ping")).toBe(false);
		expect(client.state).toBe("connected");
		client.close();
	});

	test("at most 90 s of silence, and a ping each 30 s", async () => {
		const { client, clock, network } = await connected({}, { ping_interval: 1_000 });
		await clock.pass(30_000);
		network.socket.take("ping");
		await clock.pass(59_999);
		expect(client.state).toBe("connected");
		await clock.pass(1);
		expect(client.state).toBe("retrying");
		client.close();
	});

	test("a machine that slept asks with a short deadline", async () => {
		const { client, clock, network } = await connected();
		clock.sleep(3_600_000);
		await clock.pass(1);
		network.socket.take("ping");
		await clock.pass(4_000);
		network.socket.push({ pong: {} });
		await clock.pass(6_000);
		expect(client.state).toBe("connected");
		clock.sleep(3_600_000);
		await clock.pass(5_001);
		expect(client.state).toBe("retrying");
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("the round trip is measured", async () => {
		const { client, clock, network } = await connected();
		const seen: number[] = [];
		client.on("round_trip", ({ ms }) => seen.push(ms));
		const first = client.roundTrip();
		await clock.pass(40);
		network.socket.push({ pong: {} });
		expect(await first).toBe(40);
		expect(seen).toEqual([40]);
		const second = client.roundTrip();
		network.socket.drop();
		await expect(second).rejects.toBeInstanceOf(RivuletError);
		await expect(client.roundTrip()).rejects.toBeInstanceOf(RivuletError);
		client.close();
	});
});

describe("sessions", () => {
	test("count as connected only where the node names it", async () => {
		const { client, clock, network, states } = setup({ session: "phone" });
		client.connect();
		await clock.pass(0);
		network.socket.open();
		const connect = network.socket.take("connect");
		expect(connect.connect.session).toBe("phone");
		network.socket.push({ connected: { client: "c", node: "n", ping_interval: 25 } });
		expect(client.state).toBe("connecting");
		network.socket.push({
			id: 1,
			connected: { client: "c", node: "n", ping_interval: 25, session: "phone", resumed: true },
		});
		expect(states.at(-1)).toMatchObject({ state: "connected", resumed: true });
		client.close();
	});

	test("close the client where the node keeps none", async () => {
		const { states } = await connected({ session: "phone" });
		expect(states.at(-1)).toMatchObject({ state: "closed", error: { code: 4422 } });
	});
});
