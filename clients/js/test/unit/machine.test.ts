// The state machine: whatever happens in whatever order, only what the table has.

import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { version } from "../../package.json";
import { backoff, bounded } from "../../src/backoff.js";
import { reconnects, resubscribes } from "../../src/codes.js";
import { temporary } from "../../src/errors.js";
import { RivuletError } from "../../src/index.js";
import { follows } from "../../src/machine.js";
import { leavesOpen } from "../../src/sender.js";
import type { State, StateChange } from "../../src/types.js";
import { VERSION } from "../../src/version.js";
import { setup } from "./fake/setup.js";
import { vectors } from "./vectors.js";

const legal: Record<State, State[]> = {
	initialized: ["connecting", "closed"],
	connecting: ["connected", "retrying", "disconnected", "closed"],
	connected: ["retrying", "disconnected", "closed"],
	retrying: ["connecting", "disconnected", "closed"],
	disconnected: ["connecting", "closed"],
	closed: [],
};
const states = Object.keys(legal) as State[];

afterEach(() => vi.unstubAllGlobals());

test("the table", () => {
	for (const from of states) {
		for (const to of states) expect(follows(from, to)).toBe(legal[from].includes(to));
	}
});

test("the version is the package's", () => expect(VERSION).toBe(version));

describe("codes", () => {
	test.each(vectors("codes") as any[])("$code", (v) => {
		expect(reconnects(v.code)).toBe(v.reconnect);
		expect(temporary(v.code)).toBe(v.temporary);
		expect(resubscribes(v.code)).toBe(v.resubscribe);
	});

	test("that leave open whether something was stored", () => {
		expect([4408, 4500, 4504, 4599].every(leavesOpen)).toBe(true);
		expect([4400, 4403, 4429, 4503, 4600].some(leavesOpen)).toBe(false);
	});

	test("each have an advice", () => {
		for (let code = 1000; code < 4800; code++) {
			expect(new RivuletError(code, "").advice, String(code)).not.toBe("");
		}
	});
});

test("backoff is evenly random below its bound", () => {
	const any = fc.record({
		failures: fc.integer({ min: 1, max: 10_000 }),
		base: fc.integer({ min: 1, max: 5_000 }),
		cap: fc.integer({ min: 1, max: 60_000 }),
		random: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
		after: fc.oneof(fc.integer(), fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, "x", null)),
	});
	fc.assert(
		fc.property(any, ({ failures, base, cap, random, after }) => {
			const wait = backoff(base, cap, () => random)(failures, after as number);
			const least = bounded(after);
			expect(least).toBeGreaterThanOrEqual(0);
			expect(least).toBeLessThanOrEqual(300_000);
			const bound = Math.min(cap, base * 2 ** (failures - 1));
			expect(wait - least).toBeCloseTo(random * bound, 5);
		}),
	);
});

type Op =
	| { op: "connect" | "disconnect" | "close" | "open" | "greet" | "garbage" | "refuse" | "probe" }
	| { op: "drop" | "bye"; code: number; after: number }
	| { op: "pass" | "sleep"; ms: number }
	| { op: "page"; name: string }
	| { op: "network"; onLine: boolean }
	| { op: "token"; works: boolean };

const codes = [1000, 1006, 1009, 4000, 4003, 4006, 4201, 4202];
const anyOp = fc.oneof(
	{ weight: 6, arbitrary: fc.record({ op: fc.constantFrom("open", "greet", "greet") }) },
	{ weight: 3, arbitrary: fc.record({ op: fc.constantFrom("connect", "disconnect") }) },
	{ weight: 2, arbitrary: fc.record({ op: fc.constantFrom("garbage", "refuse", "probe") }) },
	{ weight: 1, arbitrary: fc.record({ op: fc.constant("close") }) },
	{
		weight: 4,
		arbitrary: fc.record({
			op: fc.constantFrom("drop", "bye"),
			code: fc.constantFrom(1006, 1006, 1006, ...codes),
			after: fc.constantFrom(0, 0, 3_000),
		}),
	},
	{
		weight: 6,
		arbitrary: fc.record({ op: fc.constant("pass"), ms: fc.integer({ min: 0, max: 40_000 }) }),
	},
	{ weight: 1, arbitrary: fc.record({ op: fc.constant("sleep"), ms: fc.nat(4_000_000) }) },
	{
		weight: 3,
		arbitrary: fc.record({
			op: fc.constant("page"),
			name: fc.constantFrom("pagehide", "pageshow", "freeze", "resume", "online", "offline"),
		}),
	},
	{ weight: 1, arbitrary: fc.record({ op: fc.constant("network"), onLine: fc.boolean() }) },
	{ weight: 2, arbitrary: fc.record({ op: fc.constant("token"), works: fc.boolean() }) },
) as fc.Arbitrary<Op>;

/** A client in a page, and what may happen to it. */
class World {
	readonly page = new EventTarget();
	readonly navigator = { onLine: true };
	readonly all;
	readonly changes: StateChange[] = [];
	works = true;

	constructor() {
		vi.stubGlobal("navigator", this.navigator);
		const { page } = this;
		vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
		vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
		this.all = setup({
			lifecycle: true,
			random: () => 1,
			token: async () => {
				if (!this.works) throw new Error("no token now");
				return "t";
			},
		});
		this.all.client.on("state", (change) => this.changes.push(change));
		this.all.client.on("error", () => {}); // those for onError are the SDK's own faults
	}

	async do(o: Op): Promise<void> {
		const { client, clock, network } = this.all;
		const socket = network.sockets.at(-1);
		const fresh = socket?.readyState === 0;
		const open = socket?.readyState === 1;
		if (o.op === "connect" || o.op === "disconnect" || o.op === "close") client[o.op]();
		if (o.op === "open" && fresh) socket.open();
		if (o.op === "greet" && fresh) socket.greet();
		if (o.op === "greet" && open && socket.has("connect")) {
			socket.answer("connect", { connected: { client: "c", node: "n", ping_interval: 25 } });
		}
		if (o.op === "garbage" && open) socket.pushText("{");
		if (o.op === "probe") void client.roundTrip();
		if (o.op === "refuse" && open && socket.has("connect")) {
			const error = { code: 4401, message: "", temporary: false, retry_after_ms: 0 };
			socket.answer("connect", { error });
		}
		if (o.op === "drop") socket?.drop(o.code);
		if (o.op === "bye" && open) {
			const { code, after: retry_after_ms } = o;
			socket.push({ disconnect: { code, reason: "", reconnect: code < 4200, retry_after_ms } });
		}
		if (o.op === "pass") await clock.pass(o.ms);
		if (o.op === "sleep") clock.sleep(o.ms);
		if (o.op === "page") this.page.dispatchEvent(new Event(o.name));
		if (o.op === "network") this.navigator.onLine = o.onLine;
		if (o.op === "token") this.works = o.works;
	}

	check(): void {
		const { client, clock, network } = this.all;
		let state: State = "initialized";
		let failures = 0;
		for (const change of this.changes) {
			expect(change.previous).toBe(state);
			expect(legal[state]).toContain(change.state);
			state = change.state;
			if (state === "connected") failures = 0;
			if (state === "retrying") failures++;
			if (change.retryIn !== undefined) {
				const least = change.error?.retryAfterMs ?? 0;
				expect(change.retryIn - least).toBeLessThanOrEqual(20_000);
				expect(change.retryIn - least).toBeGreaterThanOrEqual(
					Math.min(20_000, 250 * 2 ** (failures - 1)),
				);
			}
			if (state === "retrying") expect(change.error).toBeInstanceOf(RivuletError);
		}
		expect(client.state).toBe(state);
		expect(network.sockets.filter((s) => s.readyState < 2).length).toBeLessThanOrEqual(1);
		if (state === "disconnected" || state === "closed" || state === "initialized") {
			expect(clock.timers.size).toBe(0);
			expect(network.sockets.every((s) => s.readyState === 3)).toBe(true);
		}
	}
}

test("whatever happens: legal steps, bounded waits, one connection, nothing left", async () => {
	await fc.assert(
		fc.asyncProperty(fc.array(anyOp, { maxLength: 80, size: "max" }), async (ops) => {
			const world = new World();
			for (const o of ops) {
				await world.do(o);
				await world.all.clock.pass(0);
				world.check();
			}
			world.all.client.close();
			await world.all.clock.pass(0);
			world.check();
			expect(world.all.client.state).toBe("closed");
			expect(world.all.errors).toEqual([]);
		}),
		{ numRuns: Number(process.env.FC_RUNS ?? 300) },
	);
}, 120_000);
