// What `test/runtimes/program.ts` is told, and what it must have seen.

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "vitest";
import type { Order, Seen } from "../runtimes/program.js";
import { Network } from "./proxy.js";
import type { Node } from "./rivulet.js";

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

/** Gives `run` an order, and looks at what comes of it: over event streams where WebSockets are blocked. */
export async function fulfill(
	node: Node,
	channel: string,
	transport: "websocket" | "sse",
	run: (order: Order) => Promise<Seen>,
): Promise<void> {
	const [network, nowhere] = await Promise.all([
		Network.open(node.address),
		Network.open(node.address),
	]);
	nowhere.set("refuse");
	const mode = transport === "websocket" ? "pass" : "no-websocket";
	network.set(mode);
	const control = createServer(async (_, response) => {
		network.set("refuse");
		network.cut();
		for (const n of numbers(10, 20)) await node.publish(channel, n);
		network.set(mode);
		response.setHeader("Access-Control-Allow-Origin", "*");
		response.setHeader("Connection", "close");
		response.end();
	}).listen(0, "127.0.0.1");
	try {
		await once(control, "listening");
		const seen = await run({
			url: network.url,
			cut: `http://127.0.0.1:${(control.address() as AddressInfo).port}`,
			nowhere: nowhere.url,
			channel,
			transports: transport === "websocket" ? ["websocket"] : ["websocket", "sse"],
		});
		expect(seen.offsets).toHaveLength(30);
		expect(seen).toEqual({
			data: numbers(0, 30),
			offsets: [...new Set(seen.offsets)].sort((a, b) => a - b),
			gaps: 0,
			transports: [transport, transport],
			newest: [29, 28, 27],
			clients: 1,
			states: ["closed", "closed"],
			errors: [],
		});
		expect(network.broken).toBeGreaterThan(0);
	} finally {
		control.close();
		await Promise.all([network.close(), nowhere.close()]);
	}
}
