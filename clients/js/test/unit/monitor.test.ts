// The monitor on a fake client, with fake time: what it reports, and what it never does.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Client } from "../../src/index.js";
import { type MonitorOptions, monitor, type Report } from "../../src/monitor/index.js";
import { Samples } from "../../src/monitor/samples.js";

/** As much of a client as a monitor sees. */
class FakeClient {
	state = "initialized";
	readonly listeners = new Map<string, Set<(event: any) => void>>();

	on(name: string, listener: (event: any) => void): () => void {
		const all = this.listeners.get(name) ?? new Set();
		this.listeners.set(name, all.add(listener));
		return () => all.delete(listener);
	}

	emit(name: string, event: object): void {
		if ("state" in event) this.state = event.state as string;
		for (const listener of [...(this.listeners.get(name) ?? [])]) listener(event);
	}

	connect(ms = 40, transport = "websocket"): void {
		this.emit("state", { state: "connecting" });
		vi.advanceTimersByTime(ms);
		this.emit("state", { state: "connected", transport });
	}

	get listening(): number {
		return [...this.listeners.values()].reduce((n, set) => n + set.size, 0);
	}
}

let posts: { url: string; init: RequestInit }[];
let answer: () => Promise<Response>;
beforeEach(() => {
	vi.useFakeTimers();
	posts = [];
	answer = async () => new Response(null, { status: 200 });
});
afterEach(() => {
	vi.useRealTimers();
	vi.restoreAllMocks();
	vi.unstubAllGlobals();
});

const reports = (): Report[] => posts.map((p) => JSON.parse(String(p.init.body)));

function start(options: MonitorOptions = {}, client = new FakeClient()) {
	const watch = monitor(client as unknown as Client, "wss://node.test/rt/", {
		fetch: (url, init) => {
			posts.push({ url: String(url), init: init ?? {} });
			return answer();
		},
		...options,
	});
	return { client, watch };
}

/** A message that took `ms`, by a node's clock that is `skew` ahead of the client's. */
const arrives = (client: FakeClient, ms: number, skew = 0) =>
	client.emit("message", { time: Date.now() + skew - ms, channel: "secret:room", data: "secret" });

test("reports what there was, once, without being asked", () => {
	const { client } = start();
	client.connect(40);
	client.emit("round_trip", { ms: 12.34 });
	client.emit("gap", { channel: "secret:room", reason: "retention" });
	client.emit("state", { state: "retrying" });
	client.connect(60, "sse");
	vi.advanceTimersByTime(30_000);
	vi.advanceTimersByTime(300_000); // nothing new: nothing sent
	expect(posts.map((p) => p.url)).toEqual(["https://node.test/rt/v1/telemetry"]);
	expect(reports()).toEqual([
		{
			sdk: expect.stringMatching(/^\d+\.\d+\.\d+/),
			transport: "sse",
			connects: [40, 60],
			round_trips: [12.3],
			deliveries: [],
			reconnects: 1,
			gaps: 1,
			paints: {},
			errors: [],
			more_errors: 0,
		},
	]);
	expect(posts[0]?.init).toMatchObject({ method: "POST", keepalive: true, credentials: "omit" });
});

test("an application's own disconnect is no reconnect, and a client may be connected before", () => {
	const client = new FakeClient();
	client.connect();
	start({}, client);
	client.emit("state", { state: "disconnected" });
	client.connect(5);
	vi.advanceTimersByTime(30_000);
	client.emit("state", { state: "retrying" });
	client.emit("state", { state: "connecting" });
	client.emit("state", { state: "retrying" });
	client.connect(7);
	vi.advanceTimersByTime(30_000);
	expect(reports().map((r) => [r.reconnects, r.connects])).toEqual([
		[0, [5]],
		[1, [7]],
	]);
});

describe("delivery", () => {
	for (const hours of [-5, 0, 5]) {
		test(`is measured by a clock that is ${hours} h wrong`, () => {
			const { client } = start();
			vi.advanceTimersByTime(1_000);
			client.emit("round_trip", { ms: 10 });
			for (const ms of [5, 25, 105]) arrives(client, ms, hours * 3_600_000);
			vi.advanceTimersByTime(30_000);
			expect(reports()[0]?.deliveries).toEqual([5, 25, 105]);
		});
	}

	test("is measured again after the clock was set", () => {
		const { client } = start();
		vi.advanceTimersByTime(1_000);
		for (let minute = 0; minute < 30; minute++) {
			const skew = minute < 5 ? 0 : -7_000;
			arrives(client, 0, skew);
			arrives(client, 20, skew);
			vi.advanceTimersByTime(60_000);
		}
		const last = reports().at(-1);
		expect(last?.deliveries).toEqual([0, 20]);
	});

	test("leaves out what was stored before anybody waited for it", () => {
		const { client } = start();
		vi.advanceTimersByTime(500);
		arrives(client, 2);
		arrives(client, 20_000);
		arrives(client, 30);
		vi.advanceTimersByTime(30_000);
		expect(reports()[0]?.deliveries).toEqual([0, 28]);
	});
});

test("a sample is bounded, and of all that came", () => {
	const samples = new Samples();
	for (let n = 0; n < 10_000; n++) samples.add(n);
	samples.add(Number.NaN);
	const taken = samples.take();
	expect(taken.length).toBe(50);
	expect(new Set(taken).size).toBe(50);
	// Of 10,000 evenly chosen ones these sums are more than six deviations away.
	const mean = taken.reduce((sum, v) => sum + v, 0) / 50;
	expect(mean).toBeGreaterThan(2_500);
	expect(mean).toBeLessThan(7_500);
	expect(samples.take()).toEqual([]);
});

describe("errors", () => {
	type Listener = (event: object) => void;
	const page = () => {
		const listeners = new Map<string, Listener>();
		vi.stubGlobal("addEventListener", (name: string, l: Listener) => listeners.set(name, l));
		vi.stubGlobal("removeEventListener", (name: string) => listeners.delete(name));
		vi.stubGlobal("location", { pathname: "/account" }); // a router has been at it
		return listeners;
	};
	const at = (filename: string, error: unknown) => ({ filename, lineno: 3, colno: 4, error });

	test("are told by class and place, never by what they say", () => {
		const listeners = page();
		const { watch } = start();
		class Odd extends Error {
			override get name(): string {
				throw new Error("s3cret");
			}
		}
		const spoken = new Error("s3cret");
		spoken.name = "token=s3cret";
		const uncaught = listeners.get("error") as Listener;
		uncaught(at("https://app.test/app.js?s3cret#s3cret", new TypeError("s3cret")));
		uncaught(at("https://app.test/reset/s3cret", spoken)); // in the page itself
		uncaught(at("data:text/javascript,throw+s3cret", "s3cret"));
		uncaught(at("blob:https://app.test/s3cret", new Odd()));
		uncaught({ target: "an image that does not load" });
		listeners.get("unhandledrejection")?.({ reason: new RangeError("s3cret") });
		watch.flush();
		const [report] = reports();
		expect(JSON.stringify(report)).not.toContain("s3cret");
		expect(report?.errors).toEqual([
			{ kind: "uncaught", name: "TypeError", source: "/app.js:3:4" },
			{ kind: "uncaught", name: "Error", source: "" },
			{ kind: "uncaught", name: "string", source: "" },
			{ kind: "uncaught", name: "Error", source: "" },
			{ kind: "unhandled", name: "RangeError", source: "" },
		]);
		watch.stop();
		expect(listeners.size).toBe(0);
	});

	test("a storm of them fits into what the node takes", () => {
		const listeners = page();
		const { client, watch } = start();
		const long = `https://app.test/${"x".repeat(5_000)}.js`;
		for (let n = 0; n < 50_000; n++) {
			listeners.get("error")?.(at(long, new Error()));
			client.emit("gap", {});
			client.emit("round_trip", { ms: n * 1_000 });
		}
		watch.flush();
		const body = String(posts[0]?.init.body);
		const [report] = reports();
		expect(body.length).toBeLessThan(16_384);
		expect(report?.errors.length).toBe(20);
		expect(report?.errors[0]?.source.length).toBeLessThan(128);
		expect([report?.more_errors, report?.gaps]).toEqual([10_000, 10_000]);
		expect(Math.max(...(report?.round_trips ?? []))).toBeLessThan(600_000);
		watch.stop();
	});
});

test("nothing of messages, channels or tokens is in a report", () => {
	const { client, watch } = start();
	vi.advanceTimersByTime(1_000);
	client.connect();
	arrives(client, 3);
	client.emit("gap", { channel: "secret:room", reason: "secret" });
	client.emit("state", { state: "retrying", error: { message: "secret" }, client: "secret" });
	watch.flush();
	expect(posts.length).toBe(1);
	expect(String(posts[0]?.init.body)).not.toContain("secret");
});

describe("how much is sent", () => {
	test("a page that is not of the sample watches nothing", () => {
		const { client, watch } = start({ sample: 0.25, random: () => 0.25 });
		expect(client.listening).toBe(0);
		watch.flush();
		watch.stop();
		expect([posts.length, vi.getTimerCount()]).toEqual([0, 0]);
		expect(start({ sample: 0.25, random: () => 0.24 }).client.listening).toBeGreaterThan(0);
		expect(start({ sample: 1, random: () => 0.999 }).client.listening).toBeGreaterThan(0);
	});

	test("flush is heeded once a second", () => {
		const { client, watch } = start();
		for (let n = 0; n < 500; n++) {
			client.emit("gap", {});
			watch.flush();
			vi.advanceTimersByTime(10);
		}
		expect(posts.length).toBe(5);
	});

	test("a page sends a thousand reports at most", () => {
		const { client } = start({ interval: 1_000 });
		for (let n = 0; n < 1_100; n++) {
			client.emit("gap", {});
			vi.advanceTimersByTime(1_000);
		}
		expect(posts.length).toBe(1_000);
	});

	for (const [name, refuses] of Object.entries({
		"a node that takes no reports": async () => new Response("{}", { status: 404 }),
		"no network": async () => Promise.reject(new TypeError("offline")),
	})) {
		test(`${name} is asked less and less`, async () => {
			answer = refuses;
			const { client } = start();
			for (let n = 0; n < 400; n++) {
				client.emit("gap", {});
				await vi.advanceTimersByTimeAsync(30_000);
			}
			expect(posts.length).toBeGreaterThan(5);
			expect(posts.length).toBeLessThan(14);
		});
	}

	test.each([
		[{ interval: 0 }, "interval"],
		[{ interval: Number.NaN }, "interval"],
		[{ interval: 1e12 }, "interval"],
		[{ sample: 2 }, "sample"],
		[{ sample: Number.NaN }, "sample"],
		[{ smple: 1 }, "smple"],
	])("%o is refused", (options, field) => {
		expect(() => start(options as MonitorOptions)).toThrow(
			expect.objectContaining({ code: 4400, field }),
		);
	});

	test("no address is refused, unless reports go elsewhere", () => {
		const client: any = new FakeClient();
		const none: any = monitor;
		expect(() => none(client)).toThrow("url: monitor(client, url) takes the node's");
		none(client, undefined, { endpoint: "https://a.example/r" }).stop();
	});
});

describe("before", () => {
	test("changes and drops reports", () => {
		let n = 0;
		const before = (r: Report) => (n++ === 0 ? undefined : { ...r, transport: "other" });
		const { client } = start({ before });
		client.emit("gap", {});
		vi.advanceTimersByTime(30_000);
		expect(posts.length).toBe(0);
		client.emit("gap", {});
		vi.advanceTimersByTime(30_000);
		expect(reports().map((r) => r.transport)).toEqual(["other"]);
	});

	test("that throws sends nothing, and throws into nowhere", () => {
		const told = vi.spyOn(console, "error").mockImplementation(() => {});
		const { client } = start({
			before: () => {
				throw new Error("bug");
			},
		});
		client.emit("gap", {});
		vi.advanceTimersByTime(30_000);
		expect(posts.length).toBe(0);
		expect(told).toHaveBeenCalledOnce();
	});
});

test("it ends with its client, and leaves nothing", () => {
	const { client, watch } = start();
	client.connect();
	client.emit("state", { state: "closed" });
	expect(reports().map((r) => r.connects)).toEqual([[40]]);
	expect([client.listening, vi.getTimerCount()]).toEqual([0, 0]);
	client.emit("gap", {});
	watch.flush();
	watch.stop();
	expect(posts.length).toBe(1);
});
