// From one transport to the other and back while messages come and go.

import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/clock.js";
import { Client } from "../../src/index.js";
import type { TransportName } from "../../src/types.js";
import { Network } from "../support/proxy.js";
import { Node } from "../support/rivulet.js";
import { until } from "../support/until.js";

let node: Node;
beforeAll(async () => {
	node = await Node.start();
});
afterAll(() => node?.stop());

test("websocket, event stream, and back, four times in mid-flight", async () => {
	const { WebSocket } = await import("ws" as string);
	const network = await Network.open(node.address);
	const real = systemClock();
	let later = 0; // what is remembered of a transport ends
	const clock = { ...real, now: () => real.now() + later };
	const fast = { backoff: { base: 20, cap: 200 }, lifecycle: false, WebSocket };
	const reader = new Client(network.url, { ...fast, clock });
	const writer = new Client(network.url, { ...fast, queue: { messages: 10_000, bytes: 1 << 24 } });
	const got: Record<string, number[]> = { x: [], all: [], slow: [] };
	const gaps: string[] = [];
	let transport: TransportName | undefined;
	reader.on("state", (c) => {
		transport = c.transport;
	});
	const into = (name: string, work?: () => Promise<void>) => ({
		message: async (m: { channel: string; data: number }) => {
			got[name]?.push(name === "all" && m.channel.endsWith("x") ? -1 : m.data);
			await work?.();
		},
		update: (u: { type: string }) => {
			if (u.type === "gap" || u.type === "unsubscribed") gaps.push(`${name} ${u.type}`);
		},
	});
	const tick = () => new Promise<void>((resolve) => setImmediate(resolve));
	const channel = (name: string) => reader.channel<number>(name);
	await Promise.all([
		channel("mid.x").subscribe({}, into("x")).ready,
		channel("mid.>").subscribe({}, into("all")).ready,
		channel("apart").subscribe(
			{ buffer: 4 },
			into("slow", async () => {
				for (let i = 0; i < 50; i++) await tick();
			}),
		).ready,
	]);
	let going = true;
	let count = 0;
	const published: Promise<unknown>[] = [];
	const feeding = (async () => {
		while (going) {
			const n = count++;
			published.push(writer.channel("mine").publish(n));
			await Promise.all(["mid.x", "mid.z", "apart"].map((c) => node.publish(c, n)));
		}
	})();
	for (let round = 1; round <= 4; round++) {
		for (const [mode, wanted] of [
			["no-websocket", "sse"],
			["pass", "websocket"],
		] as const) {
			const from = count;
			await until(() => count > from + 60);
			if (mode === "pass") later += 700_000;
			network.set(mode);
			network.cut();
			await until(
				() => transport === wanted,
				() => `${transport}, not ${wanted}`,
				20_000,
			);
		}
	}
	going = false;
	await feeding;
	await Promise.all(published);
	const all = [...Array(count).keys()];
	await until(
		() => got.x?.length === count && got.slow?.length === count,
		() => JSON.stringify(got).slice(0, 500),
	);
	await until(() => got.all?.filter((n) => n >= 0).length === count);
	expect(got.x).toEqual(all);
	expect(got.slow).toEqual(all);
	expect(got.all?.filter((n) => n >= 0)).toEqual(all);
	const mine: unknown[] = [];
	for (let after: string | undefined; ; ) {
		const page = await writer.channel("mine").history({ limit: 1000, ...(after && { after }) });
		mine.push(...page.messages.map((m) => m.data));
		if (!page.more) break;
		after = page.position;
	}
	expect(mine).toEqual(all);
	expect(gaps).toEqual([]);
	reader.close();
	writer.close();
	await network.close();
});
