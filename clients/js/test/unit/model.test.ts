// Subscriptions held against a node in memory: whatever happens to the connection and the log,
// every message comes once and in order, or a gap is told.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import "../../src/transport/poll.js";
import { FakeClock } from "./fake/clock.js";
import { polling } from "./fake/poll.js";
import { setup } from "./fake/setup.js";
import { Network } from "./fake/socket.js";
import {
	arbitraryOp,
	channels,
	covers,
	fast,
	lossOp,
	type Op,
	play,
	plays,
	spellOp,
	World,
} from "./fake/world.js";

/** What has shown holes: the order of patterns changed on a link, and some were ended. */
const found = read("holes.json");
/** And where a durable subscription began while a pattern was paused. */
const foundDurable = read("holes-durable.json");
/** And where the token named a pattern. */
const foundLate = read<Late>("holes-late.json");

/** A play before all is loaded: see `late`. */
interface Late {
	ms: number;
	failures: number;
	brings: string[];
	ops: Op[];
}

function read<T = Op[]>(name: string): T[] {
	return JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8"));
}

const runs = Number(process.env.FC_RUNS ?? 150);
const timeout = 60_000 + runs * 200;

describe("every message once, in order", () => {
	test("of subscriptions that do not overlap", { timeout }, async () => {
		await fc.assert(
			fc.asyncProperty(plays(arbitraryOp), async (ops) => {
				const apart = ops.filter((o) => o.op !== "subscribe" || o.name < channels.length);
				const world = await play(apart);
				world.ordered();
				world.complete(false);
				world.all.client.close();
				expect(world.all.clock.timers.size).toBe(0);
			}),
			{ numRuns: runs },
		);
	});

	test("of overlapping ones too, whichever gets it", { timeout }, async () => {
		await fc.assert(
			fc.asyncProperty(plays(arbitraryOp), async (ops) => {
				const steady = ops.filter((o) => o.op !== "unsubscribe");
				const world = await play(steady);
				world.ordered();
				const fresh = ops.every((o) => o.op !== "subscribe" || o.last === 0);
				world.complete(fresh);
				world.all.client.close();
				expect(world.all.clock.timers.size).toBe(0);
			}),
			{ numRuns: runs },
		);
	});

	test("of overlapping ones, although some of them end", { timeout }, async () => {
		await fc.assert(
			fc.asyncProperty(plays(arbitraryOp), async (ops) => {
				const world = await play(ops);
				world.ordered();
				world.complete(false);
				world.all.client.close();
				expect(world.all.clock.timers.size).toBe(0);
			}),
			{ numRuns: runs },
		);
	});

	test("whenever what is loaded later comes, if at all at first", { timeout }, async () => {
		const loads = fc.tuple(
			plays(arbitraryOp),
			fc.constantFrom(1, 30, 150, 600),
			fc.nat(2),
			fc.subarray(["t:*.2", "t:>", "t:a.1"]),
		);
		await fc.assert(
			fc.asyncProperty(loads, async ([ops, ms, failures, brings]) => {
				const world = new World(await late(ms, failures));
				world.node.brings = brings;
				await play(ops, world);
				if (!brings[0]) world.ordered(); // else some may come twice: see the README's limits
				world.complete(false);
				world.all.client.close();
				expect(world.all.clock.timers.size).toBe(0);
			}),
			{ numRuns: runs / 3 },
		);
	});

	test.each(foundLate)("then, as it once was not: %#", async ({ ms, failures, brings, ops }) => {
		const world = new World(await late(ms, failures));
		world.node.brings = brings;
		await play(ops, world);
		world.complete(false);
		world.all.client.close();
	});

	test("by WebSocket, or by polls where it is blocked, to each subscription alone", {
		timeout,
	}, async () => {
		const ops = plays(
			fc.oneof({ weight: 12, arbitrary: arbitraryOp }, { weight: 1, arbitrary: spellOp }),
		);
		await fc.assert(
			fc.asyncProperty(ops, async (all) => {
				const world = await play(all, spells());
				world.ordered();
				world.complete(false);
				world.all.client.close();
				await world.all.clock.pass(20); // a slow one hears of it
				expect(world.all.clock.timers.size).toBe(0);
			}),
			{ numRuns: runs / 2 },
		);
	});

	test("of durable ones too, beside patterns, which are none", { timeout }, async () => {
		await fc.assert(
			fc.asyncProperty(plays(arbitraryOp), async (ops) => {
				const world = await play(ops, durable());
				world.ordered();
				world.complete(false);
				world.all.client.close();
				expect(world.all.clock.timers.size).toBe(0);
			}),
			{ numRuns: runs },
		);
	});

	test.each(found)("of overlapping ones, as it once was not: %#", async (...ops) => {
		const world = await play(ops);
		world.ordered();
		world.complete(false);
		world.all.client.close();
	});

	test("beside those that the token names", { timeout }, async () => {
		const named = fc.subarray(["t:*.2", "t:>", "t:a.1"], { minLength: 1 });
		await fc.assert(
			fc.asyncProperty(fc.tuple(plays(arbitraryOp), named), async ([ops, brings]) => {
				const world = new World();
				world.node.brings = brings;
				await play(ops, world);
				world.ordered();
				world.complete(false);
				world.all.client.close();
				expect(world.all.clock.timers.size).toBe(0);
			}),
			{ numRuns: runs },
		);
	});

	test.each(foundDurable)("of durable ones, as it once was not: %#", async (...ops) => {
		const world = await play(ops, durable());
		world.ordered();
		world.complete(false);
		world.all.client.close();
	});

	test("or a gap is told, where the log lost some", { timeout }, async () => {
		const ops = plays(
			fc.oneof(
				{ weight: 16, arbitrary: arbitraryOp },
				{ weight: 2, arbitrary: lossOp },
				{ weight: 1, arbitrary: spellOp },
			),
		);
		await fc.assert(
			fc.asyncProperty(ops, async (all) => {
				const world = await play(
					all.filter((o) => o.op !== "unsubscribe"),
					spells(),
				);
				world.ordered();
				told(world);
				world.all.client.close();
				await world.all.clock.pass(20); // a slow one hears of it
				expect(world.all.clock.timers.size).toBe(0);
			}),
			{ numRuns: runs },
		);
	});
});

/** Of a message that came to nobody, one of those who listened was told of a gap. */
function told(world: World): void {
	const came = new Set(world.watched.flatMap((w) => w.got.map((m) => m.data)));
	world.published.forEach((channel, n) => {
		if (came.has(n)) return;
		const listened = world.watched.filter(
			(w) => covers(w.name, channel) && w.since >= 0 && w.since <= n,
		);
		const gaps = listened.flatMap((w) => w.updates).filter((u) => u.type === "gap").length;
		if (listened.length > 0) expect(gaps, `${n} of ${channel} is missing`).toBeGreaterThan(0);
	});
}

/** A world where subscriptions to channels are durable. */
function durable(): World {
	const world = new World(setup({ backoff: fast, session: "s" }));
	world.durable = true;
	return world;
}

/** A world of which WebSockets are blocked at times. */
function spells(): World {
	const all = setup({
		transports: ["websocket", "poll"],
		backoff: fast,
		fetch: (input, init) => fetch(input, init),
	});
	const world = new World(all);
	world.switches = true;
	const fetch = polling(world.node, all.clock, () => world.node.blocked);
	return world;
}

/** A client whose part that is loaded later takes so long, and cannot be loaded so many times before. */
async function late(ms: number, failures: number) {
	vi.resetModules(); // so that nothing was loaded before
	const { Client } = await import("../../src/index.js");
	const { chunks } = await import("../../src/lazy.js");
	const clock = new FakeClock();
	const network = new Network();
	const more = await chunks.more();
	let left = failures;
	chunks.more = () =>
		new Promise((resolve, reject) => {
			const come = () => (left-- > 0 ? reject(new TypeError("not loaded")) : resolve(more));
			clock.setTimeout(come, ms);
		});
	const client = new Client("http://node.test", {
		clock,
		WebSocket: network.WebSocket,
		transports: ["websocket"],
		lifecycle: false,
		random: () => 0.5,
		backoff: fast,
	});
	client.on("error", () => {}); // what is not loaded yet, which is what this is about
	return { client, clock, network };
}
