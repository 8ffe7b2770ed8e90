// The client over WebSocket against a node: what the model cannot vouch for.

import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Client } from "../../src/index.js";
import type { ClientOptions } from "../../src/types.js";
import { Node } from "../support/rivulet.js";
import { until } from "../support/until.js";

let node: Node;
beforeAll(async () => {
	node = await Node.start();
});
afterAll(() => node?.stop());

const make = (options: ClientOptions = {}) =>
	new Client(node.url, { WebSocket, transports: ["websocket"], ...options });
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a durable subscription goes on where an earlier client stopped, however slow it is", async () => {
	const publisher = make();
	await publisher.ready();
	for (let life = 0; life < 3; life++) {
		const client = make({ session: "phone", backoff: { base: 10, cap: 50 } });
		const sub = client.channel<number>("inbox").subscribe({ durable: true, since: 1, buffer: 8 });
		await sub.ready;
		const last = life * 200 + 199;
		for (let n = life * 200; n <= last; n++) void publisher.channel("inbox").publish(n);
		const got: number[] = [];
		for await (const { data } of sub) {
			got.push(data);
			if (got.length % 50 === 0) await pause(3); // too slow for its buffer
			if (data === last) break;
		}
		// The last of the life before was not known to be handled.
		const first = Math.max(life * 200 - 1, 0);
		expect(got).toEqual(Array.from({ length: last - first + 1 }, (_, i) => first + i));
		client.close();
	}
	publisher.close();
});

test("of overlapping subscriptions, slow and cut off, each message comes to one, once", async () => {
	const publisher = make();
	const client = make({ backoff: { base: 5, cap: 20 } });
	await publisher.ready();
	const seen: number[] = [];
	const subs = ["o.>", "o.*", "o.a"].map((name) =>
		client.channel<number>(name).subscribe(
			{ buffer: 16 },
			{
				message: async ({ data }) => {
					seen.push(data);
					if (data % 40 === 0) await pause(5);
				},
			},
		),
	);
	await Promise.all(subs.map((sub) => sub.ready));
	const stored: Promise<unknown>[] = [];
	for (let n = 0; n < 1000; n++) {
		const name = `o.${"abc"[n % 3]}${n % 5 === 0 ? ".x" : ""}`;
		stored.push(publisher.channel(name).publish(n));
		if (n % 100 !== 99) continue;
		client.disconnect();
		await pause(2);
		client.connect();
		await pause(8);
	}
	await Promise.all(stored);
	await until(() => seen.length >= 1000);
	await pause(50);
	expect([...seen].sort((a, b) => a - b)).toEqual([...Array(1000).keys()]);
	client.close();
	publisher.close();
});

test("of overlapping subscriptions that end one after the other, the one that stays has the rest", async () => {
	const publisher = make();
	const client = make({ backoff: { base: 5, cap: 20 } });
	await publisher.ready();
	const seen: number[] = [];
	const subscribe = (name: string) =>
		client.channel<number>(name).subscribe(
			{ buffer: 16 },
			{
				message: async ({ data }) => {
					seen.push(data);
					if (data % 30 === 0) await pause(2); // so that one is behind another
				},
			},
		);
	const stays = subscribe("e.>");
	await stays.ready;
	const stored: Promise<unknown>[] = [];
	let count = 0;
	for (let round = 0; round < 40; round++) {
		const [one, two] = [subscribe("e.a.*"), subscribe("e.a.2")];
		if (round % 3 === 0) await Promise.all([one.ready, two.ready]);
		for (let n = 0; n < 60; n++) {
			stored.push(publisher.channel(`e.${["a.1", "a.2", "b"][n % 3]}`).publish(count++));
			if (n % 20 === 10) await pause(round % 4);
		}
		if (round % 5 === 0) await Promise.all(stored);
		const gone = [one.unsubscribe()];
		if (round % 2 === 0) await pause(1);
		gone.push(two.unsubscribe());
		if (round % 7 === 3) client.disconnect();
		client.connect();
		await Promise.all(gone);
	}
	await Promise.all(stored);
	await until(() => seen.length >= count);
	await pause(50);
	expect([...seen].sort((a, b) => a - b)).toEqual([...Array(count).keys()]);
	client.close();
	publisher.close();
});
