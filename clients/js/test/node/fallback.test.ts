// The whole client over each transport, and from one to the next.

import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Client, type RivuletError } from "../../src/index.js";
import { Network } from "../support/proxy.js";
import { Node } from "../support/rivulet.js";
import { until } from "../support/until.js";

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

let node: Node;
beforeAll(async () => {
	node = await Node.start();
});
afterAll(() => node?.stop());

/** What a client that subscribes and publishes sees. */
async function chat(url: string, channel: string, options: object) {
	const client = new Client(url, { backoff: { base: 20, cap: 200 }, ...options });
	const seen = {
		data: [] as unknown[],
		gaps: 0,
		transports: [] as string[],
		errors: [] as RivuletError[],
	};
	client.on("state", (c) => {
		if (c.transport) seen.transports.push(c.transport);
		if (c.error) seen.errors.push(c.error);
	});
	const sub = client.channel<number>(channel).subscribe(
		{},
		{
			message: (m) => seen.data.push(m.data),
			update: (u) => {
				if (u.type === "gap") seen.gaps++;
			},
		},
	);
	await sub.ready;
	return { client, seen, sub, channel: client.channel<number>(channel) };
}

describe.each(["sse", "poll"] as const)("%s alone", (transport) => {
	test("every message once and in order, over fifty cuts", async () => {
		const network = await Network.open(node.address);
		const { client, seen, channel } = await chat(network.url, `cuts-${transport}`, {
			transports: [transport],
			queue: { messages: 300 },
		});
		let cutting = true;
		const cuts = (async () => {
			for (let i = 0; i < 50 && cutting; i++) {
				network.cut();
				await new Promise((resolve) => setTimeout(resolve, 60));
			}
		})();
		await Promise.all(numbers(0, 300).map((n) => channel.publish(n, { timeout: 60_000 })));
		await cuts;
		cutting = false;
		await until(
			() => seen.data.length >= 300,
			() => `${seen.data.length} ${seen.errors.at(-1)}`,
		);
		expect(seen.data).toEqual(numbers(0, 300));
		expect(seen.gaps).toBe(0);
		expect(network.broken).toBeGreaterThan(20);
		const page = await channel.history({ limit: 10, order: "desc" });
		expect(page.messages.map((m) => m.data)).toEqual(numbers(290, 300).reverse());
		expect(await client.roundTrip()).toBeGreaterThanOrEqual(0);
		client.close();
		await network.close();
	});

	test("a node that is killed and comes back", async () => {
		const first = await Node.start();
		const { client, seen, channel } = await chat(first.url, "killed", { transports: [transport] });
		for (const n of numbers(0, 5)) await channel.publish(n);
		await until(() => seen.data.length === 5);
		await first.kill();
		const publishing = channel.publish(5);
		const second = await Node.start({ data: first.data, listen: first.address });
		await publishing;
		await until(
			() => seen.data.length === 6,
			() => JSON.stringify(seen),
		);
		expect(seen.data).toEqual(numbers(0, 6));
		client.close();
		await second.stop();
		await first.stop();
	});

	test("patterns and channels side by side", async () => {
		const client = new Client(node.url, { transports: [transport] });
		const got: Record<string, unknown[]> = { a: [], all: [] };
		const a = client
			.channel(`side.${transport}.a`)
			.subscribe({}, { message: (m) => got.a?.push(m.data) });
		const all = client
			.channel(`side.${transport}.>`)
			.subscribe({}, { message: (m) => got.all?.push(m.data) });
		await Promise.all([a.ready, all.ready]);
		for (const n of numbers(0, 10)) await node.publish(`side.${transport}.a`, n);
		await node.publish(`side.${transport}.b`, 10);
		await until(
			() => got.a?.length === 10 && got.all?.length === 11,
			() => JSON.stringify(got),
		);
		expect(got).toEqual({ a: numbers(0, 10), all: numbers(0, 11) });
		client.close();
	});
});

test("a blocked WebSocket falls to event streams, and nothing is lost", async () => {
	const { WebSocket } = await import("ws" as string); // Node.js 20 has none of its own
	const network = await Network.open(node.address);
	network.set("no-websocket");
	const { client, seen, channel } = await chat(network.url, "blocked", { WebSocket });
	expect(seen.transports).toEqual(["sse"]);
	for (const n of numbers(0, 10)) await channel.publish(n);
	await until(() => seen.data.length === 10);
	expect(seen.data).toEqual(numbers(0, 10));
	expect(network.turnedAway).toBeGreaterThan(0);
	client.close();
	await network.close();
});

test("a proxy that keeps event streams back: polls", async () => {
	// It hands on an answer when it has all of it, and knows no WebSockets.
	const proxy = createServer((req, res) => {
		const { method, headers, url } = req;
		const onward = request(node.url + url, { method, headers }, (answer) => {
			const body: Buffer[] = [];
			answer.on("data", (part) => body.push(part));
			answer.on("end", () => {
				res.writeHead(answer.statusCode ?? 502, answer.headers);
				res.end(Buffer.concat(body));
			});
		});
		onward.on("error", () => res.destroy());
		res.on("close", () => onward.destroy());
		req.pipe(onward);
	});
	proxy.on("upgrade", (_, socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
	proxy.listen(0, "127.0.0.1");
	await once(proxy, "listening");
	const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
	const { client, seen, channel } = await chat(url, "buffered", { transports: ["sse", "poll"] });
	for (const n of numbers(0, 5)) await channel.publish(n);
	await until(
		() => seen.transports.at(-1) === "poll",
		() => JSON.stringify(seen),
	);
	for (const n of numbers(5, 10)) await channel.publish(n);
	await until(
		() => seen.data.length >= 10,
		() => JSON.stringify(seen),
	);
	expect(seen.data).toEqual(numbers(0, 10));
	expect(seen.gaps).toBe(0);
	client.close();
	proxy.closeAllConnections();
	proxy.close();
});
