// Which transport is used: websocket, and another only where it is blocked.

import { describe, expect, test, vi } from "vitest";
import { Choice } from "../../src/choice.js";
import { Client } from "../../src/index.js";
import type { TransportName } from "../../src/types.js";
import "../../src/transport/poll.js";
import "../../src/transport/sse.js";
import { FakeClock, settled } from "./fake/clock.js";
import { setup } from "./fake/setup.js";
import { at, page, polled, Stream, said } from "./fake/web.js";

const base = "http://node.test";
const well = () => new Response('{"code":200,"message":"","data":null}');
const portal = () => new Response("<html>Sign in to the hotel's network");
const busy = () => new Response('{"code":503}', { status: 503 });
const full = () => new Response('{"code":429}', { status: 429 });

function make(answer: () => Response | Promise<Response>, storage?: Map<string, string>) {
	const clock = new FakeClock();
	const asked: string[] = [];
	const transports: TransportName[] = ["websocket", "sse", "poll"];
	const told: number[] = [];
	const choice = new Choice({
		prefix: "",
		hint: "",
		transports,
		clock,
		busy: (ms) => told.push(ms),
		fetch: async (url) => {
			asked.push(String(url));
			return answer();
		},
		storage: storage && {
			getItem: (key) => storage.get(key) ?? null,
			setItem: (key, value) => void storage.set(key, value),
			removeItem: (key) => void storage.delete(key),
		},
	});
	const fail = async (blocked: number) => {
		choice.failed(base, blocked);
		await settled();
		await settled();
	};
	return { choice, clock, asked, told, fail };
}

describe("the choice", () => {
	test("goes on after two blocked attempts, if the node answers over HTTP", async () => {
		const { choice, asked, fail } = make(well);
		expect(choice.next()).toBe("websocket");
		await fail(1);
		expect(choice.next()).toBe("websocket");
		await fail(1);
		expect(asked).toEqual([`${base}/v1/poll?timeout=0`, `${base}/v1/poll?timeout=0`]);
		expect(choice.next()).toBe("sse");
		await fail(2);
		expect(choice.next()).toBe("poll");
		await fail(2);
		expect(choice.next()).toBe("websocket");
	});

	test("what failed before it went on says nothing of the next", async () => {
		const { choice, fail } = make(well);
		expect(choice.next()).toBe("websocket");
		choice.failed(base, 2);
		expect(choice.next()).toBe("websocket"); // nobody has looked yet
		await settled();
		await settled();
		await fail(2);
		expect(choice.next()).toBe("sse");
	});

	test("goes on at once after an attempt that took all its time", async () => {
		const { choice, fail } = make(() => new Response('{"code":401}', { status: 401 }));
		await fail(2);
		expect(choice.next()).toBe("sse");
	});

	test.each([
		["is down", () => Promise.reject(new TypeError("fetch failed"))],
		["is not well", busy],
		["has clients enough", full],
		["is behind a portal", portal],
	])("stays where the node %s", async (_, answer) => {
		const { choice, fail } = make(answer);
		for (let i = 0; i < 5; i++) await fail(2);
		expect(choice.next()).toBe("websocket");
	});

	test("tells when a node that has clients enough takes some again", async () => {
		for (const status of [429, 503]) {
			const { fail, told } = make(() => said({ retry_after_ms: 7_000 }, status));
			await fail(1);
			expect(told).toEqual([7_000]);
		}
		const other = make(() => said({ retry_after_ms: 7_000 }, 500));
		await other.fail(1);
		expect(other.told).toEqual([]);
	});

	test("starts anew after an attempt that was not blocked, or that worked", async () => {
		const { choice, fail } = make(well);
		await fail(1);
		await fail(0);
		await fail(1);
		expect(choice.next()).toBe("websocket");
		choice.worked();
		await fail(1);
		expect(choice.next()).toBe("websocket");
	});

	test("returns from one that never worked", async () => {
		const { choice, fail } = make(well);
		await fail(2);
		expect(choice.next()).toBe("sse");
		await fail(0);
		expect(choice.next()).toBe("websocket");
	});

	test("stays ten minutes with one that worked", async () => {
		const { choice, clock, fail } = make(well);
		await fail(2);
		choice.next();
		choice.worked();
		await fail(0);
		clock.sleep(599_000);
		expect(choice.next()).toBe("sse");
		clock.sleep(2_000);
		expect(choice.next()).toBe("websocket");
	});

	test("remembers it across page loads, but not for ever", async () => {
		const storage = new Map<string, string>();
		const first = make(well, storage);
		await first.fail(2);
		first.choice.next();
		first.choice.worked();
		await settled();
		expect(storage.get("transport")).toMatch(/^sse \d+$/);
		const second = make(well, storage);
		await second.choice.remember();
		expect(second.choice.next()).toBe("sse");
		for (const spoilt of ["sse 5", `sse ${Date.now() + 9e9}`, "sse", "ftp 1", "", "x y z"]) {
			storage.set("transport", spoilt);
			const third = make(well, storage);
			await third.choice.remember();
			expect(third.choice.next()).toBe("websocket");
		}
		second.choice.close();
	});

	test("does not act on an answer that comes too late", async () => {
		let give = (_: Response) => {};
		const { choice, fail } = make(() => new Promise((resolve) => (give = resolve)));
		await fail(2);
		choice.close();
		give(well());
		await settled();
		expect(choice.next()).toBe("websocket");
	});
});

describe("a client whose event streams", () => {
	/** Counts the requests of a minute, and lists the transports that connected. */
	async function minute(
		events: (signal?: AbortSignal | null) => Response,
		...only: TransportName[]
	) {
		const clock = new FakeClock();
		const asked: string[] = [];
		const connected: string[] = [];
		const client = new Client("http://node.test", {
			clock,
			transports: only,
			lifecycle: false,
			random: () => 0.5,
			fetch: (async (input: unknown, init: RequestInit = {}) => {
				const { pathname, search } = new URL(String(input));
				asked.push(pathname);
				if (pathname === "/v1/events") return events(init.signal);
				if (!search.includes("timeout=25")) return polled(at(5));
				await new Promise<void>((resolve) => clock.setTimeout(resolve, 25_000));
				return polled(at(5));
			}) as typeof fetch,
		});
		client.on("state", ({ transport }) => transport && connected.push(transport));
		client.channel("a").subscribe({}, {});
		// The transports are loaded in real time.
		await vi.waitFor(async () => {
			await clock.pass(10);
			expect(connected).not.toEqual([]);
		});
		for (let i = 0; i < 600; i++) {
			await clock.pass(100);
			for (let n = 0; n < 20; n++) await settled();
		}
		client.close();
		return { asked, connected };
	}
	const cut = (signal?: AbortSignal | null) => {
		const stream = new Stream(signal);
		stream.write(": hi\n\n");
		stream.end();
		return stream.response;
	};

	test.each([
		["are refused on the way", () => page(502)],
		["are cut at once", cut],
	])("%s backs off", async (_, events) => {
		const { asked, connected } = await minute(events, "sse");
		expect(connected.length).toBeGreaterThan(3);
		expect(connected.length).toBeLessThan(15);
		expect(asked.length).toBeLessThan(60);
	});

	test("are cut at once polls", async () => {
		const { connected } = await minute(cut, "sse", "poll");
		expect(connected[0]).toBe("sse");
		expect(connected.length).toBeLessThan(4);
		expect(connected.at(-1)).toBe("poll");
	});
});

test("a node that refuses WebSockets, for it has clients enough, is left alone as long as it says", async () => {
	const { client, clock, network } = setup({
		transports: ["websocket", "sse"],
		fetch: async () => said({ retry_after_ms: 7_000 }, 503),
	});
	client.connect();
	await clock.pass(0);
	for (let n = 1; n < 4; n++) {
		network.socket.drop(1006);
		await clock.pass(0);
		await clock.pass(6_999);
		expect(network.sockets.length).toBe(n);
		await clock.pass(1_001);
		expect(network.sockets.length).toBe(n + 1);
	}
	client.close();
	expect(clock.timers.size).toBe(0);
});
