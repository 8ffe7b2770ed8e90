// The transports over HTTP against a real node.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { open as openPoll } from "../../src/transport/poll.js";
import { open as openSse } from "../../src/transport/sse.js";
import { Network } from "../support/proxy.js";
import { Node } from "../support/rivulet.js";
import { until } from "../support/until.js";
import { Wire } from "../support/wire.js";

const transports = { sse: openSse, poll: openPoll };
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

let node: Node;
let closed: Node;
beforeAll(async () => {
	node = await Node.start({
		set: { namespaces: "{chat: {presence: true, max_bytes: 200MiB}, orders: {max_bytes: 200MiB}}" },
	});
	closed = await Node.start({ closed: true, set: { "auth.hmac.leeway": "1ms" } });
});
afterAll(async () => {
	await node?.stop();
	await closed?.stop();
});

describe.each(Object.entries(transports))("%s", (name, open) => {
	const wires: Wire[] = [];
	const connect = async (...args: [string?, object?]) => {
		const wire = new Wire(open, args[0] ?? node.url, args[1]);
		wires.push(wire);
		return wire.up();
	};
	afterAll(() => {
		for (const wire of wires) wire.transport.close();
	});
	const channel = (what: string) => `chat:${what}-${name}`;

	test("messages come after subscribed, and stop after unsubscribed", async () => {
		const [a, wire] = [channel("live"), await connect()];
		await node.publish(a, "before");
		const reply = await wire.call({ subscribe: { channel: a } });
		expect(reply.subscribed).toMatchObject({ channel: a, recovered: true });
		expect(reply.subscribed.position).toMatch(/^\w+-/);
		for (const n of numbers(0, 20)) await node.publish(a, n);
		await wire.have(a, numbers(0, 20));
		expect(await wire.call({ unsubscribe: { channel: a } })).toMatchObject({
			unsubscribed: { channel: a },
		});
		await node.publish(a, "after");
		const other = channel("live2");
		await wire.call({ subscribe: { channel: other } });
		await node.publish(other, 1);
		await wire.have(other, [1]);
		expect(wire.data(a)).toEqual(numbers(0, 20));
	});

	test("starts: last, since, position, and a channel of the default namespace", async () => {
		const [a, wire] = [channel("starts"), await connect()];
		for (const n of numbers(0, 10)) await node.publish(a, n);
		await wire.call({ subscribe: { channel: a, last: 3 } });
		await wire.have(a, [7, 8, 9]);
		await wire.event((f) => f.caught_up?.channel === a);
		const { position } = wire.frames.find((f) => f.message?.data === 8)?.message ?? {};
		const second = await connect();
		const reply = await second.call({ subscribe: { channel: a, position } });
		expect(reply.subscribed).toMatchObject({ position, recovered: true });
		await second.have(a, [9]);
		const third = await connect();
		await third.call({ subscribe: { channel: a, since: 1_000_000_000_000 } });
		await third.have(a, numbers(0, 10));
		const plain = `plain-${name}`;
		await third.call({ subscribe: { channel: plain } });
		await node.publish(plain, "x");
		await third.have(`default:${plain}`, ["x"]);
	});

	test("a long history comes whole and in order", async () => {
		const [a, wire] = [channel("long"), await connect()];
		await publishMany(a, 2500);
		await wire.call({ subscribe: { channel: a, since: 1_000_000_000_000 } });
		await node.publish(a, 2500);
		await wire.have(a, numbers(0, 2501));
	});

	test("channels come and go under load: every message once, in order", async () => {
		const wire = await connect();
		const all = numbers(0, 12).map((i) => channel(`many${i}`));
		const subscribed = (async () => {
			for (const c of all) await wire.call({ subscribe: { channel: c } });
		})();
		// The first goes on all the while.
		await until(() => wire.frames.some((f) => f.subscribed?.channel === all[0]));
		for (const n of numbers(0, 100)) await node.publish(all[0] as string, n);
		await subscribed;
		await Promise.all(
			all.slice(1).map(async (c) => {
				for (const n of numbers(0, 5)) await node.publish(c, n);
			}),
		);
		for (const c of all.slice(1)) await wire.have(c, numbers(0, 5));
		await wire.have(all[0] as string, numbers(0, 100));
		for (const c of all.slice(1, 6)) await wire.call({ unsubscribe: { channel: c } });
		for (const n of numbers(5, 10)) await node.publish(all[11] as string, n);
		await wire.have(all[11] as string, numbers(0, 10));
	});

	test("forty channels share their requests", async () => {
		let most = 0;
		let now = 0;
		const counting: typeof fetch = async (...args) => {
			const held = !String(args[0]).includes("timeout=0");
			if (!held) return fetch(...args);
			most = Math.max(most, ++now);
			const stream = String(args[0]).includes("/v1/events");
			if (stream) args[1]?.signal?.addEventListener("abort", () => now--);
			try {
				return await fetch(...args);
			} finally {
				if (!stream) now--;
			}
		};
		const wire = await connect(node.url, { fetch: counting });
		const all = numbers(0, 40).map((i) => channel(`forty${i}`));
		await Promise.all(all.map((c) => wire.call({ subscribe: { channel: c } })));
		for (const c of all) await node.publish(c, c);
		for (const c of all) await wire.have(c, [c]);
		expect(most).toBeLessThanOrEqual(3);
	});

	test("a pattern has a request of its own, and resumes by its positions", async () => {
		const [wire, pattern] = [await connect(), `orders:${name}.>`];
		const reply = await wire.call({ subscribe: { channel: pattern } });
		expect(reply.subscribed.positions.length).toBeGreaterThan(0);
		const [a, b] = [`orders:${name}.a`, `orders:${name}.b`];
		await wire.call({ subscribe: { channel: a } });
		for (const n of numbers(0, 10)) {
			await node.publish(a, n);
			await node.publish(b, n);
		}
		await wire.have(a, numbers(0, 10));
		await wire.have(a, numbers(0, 10), pattern);
		await wire.have(b, numbers(0, 10), pattern);
		const second = await connect();
		const { positions } = reply.subscribed;
		await second.call({ subscribe: { channel: pattern, positions } });
		await second.have(b, numbers(0, 10), pattern);
		await second.event((f) => f.caught_up?.positions?.length === positions.length);
	});

	test("publish, history, presence", async () => {
		const [a, wire] = [channel("commands"), await connect()];
		const publish = (m: object) => wire.call({ publish: { channel: a, ...m } });
		const first = await publish({ data: { n: 1 }, idempotency_key: "k1", headers: { h: "v" } });
		expect(first.published).toMatchObject({ channel: a, duplicate: false });
		const again = await publish({ data: { n: 1 }, idempotency_key: "k1", headers: { h: "v" } });
		expect(again.published).toMatchObject({ ...first.published, duplicate: true });
		const bytes = Uint8Array.of(0, 255, 128);
		await publish({ data_binary: bytes, exclude: "" });
		const { history } = await wire.call({ history: { channel: a, limit: 10, order: "asc" } });
		expect(history).toMatchObject({ more: false, recovered: true });
		expect(history.messages.map((m: any) => m.data ?? m.data_binary)).toEqual([{ n: 1 }, bytes]);
		expect(history.messages[0].headers).toEqual({ h: "v" });
		const { presence } = await wire.call({ presence: { channel: a, limit: 5 } });
		expect(presence).toMatchObject({ channel: a, clients: 0, users: 0 });
		expect(wire.transport.buffered).toBe(0);
	});

	test("publishes of a channel stay in order", async () => {
		const [a, wire] = [channel("order"), await connect()];
		await Promise.all(numbers(0, 50).map((n) => wire.call({ publish: { channel: a, data: n } })));
		const { history } = await wire.call({ history: { channel: a, limit: 100 } });
		expect(history.messages.map((m: any) => m.data)).toEqual(numbers(0, 50));
	});

	test("refusals are answers to their commands, and the connection goes on", async () => {
		const wire = await connect(closed.url, {
			token: closed.token({
				caps: { "chat:mine": ["subscribe", "publish"], "default:mine": ["subscribe"] },
			}),
		});
		const refused = async (command: object, code: number, field: string) =>
			expect((await wire.call(command as any)).error).toMatchObject({
				code,
				field,
				temporary: false,
			});
		await wire.call({ subscribe: { channel: "mine", presence: true } }); // without pushes
		await refused({ subscribe: { channel: "default:other" } }, 4403, "channel");
		await refused({ publish: { channel: "default:mine", data: 1 } }, 4403, "channel");
		await refused({ subscribe: { channel: "default:mine" } }, 4409, "channel");
		await refused({ subscribe: { channel: "default:a..b" } }, 4400, "channel");
		await refused({ unsubscribe: { channel: "default:other" } }, 4404, "channel");
		await refused({ subscribe: { channel: "default:d", durable: true } }, 4422, "durable");
		await refused({ ack: { channel: "default:mine", offset: 1 } }, 4422, "ack");
		await closed.publish("default:mine", 1, closed.token());
		await wire.have("default:mine", [1]);
		expect(wire.ends).toEqual([]);
	});

	test("a token that is not good, or is no more, is the end", async () => {
		const bad = new Wire(open, closed.url, { token: "x" });
		expect(await bad.end()).toMatchObject({ status: 401 });
		const none = new Wire(open, closed.url);
		expect(await none.end()).toMatchObject({ status: 401 });
		const wire = await connect(closed.url, { token: closed.token({}, 3) });
		await wire.call({ subscribe: { channel: "default:short" } });
		const end = await wire.end();
		expect([401, 4006]).toContain(end.status ?? end.code);
	});

	test("refresh: another token from now on, for what is followed too", async () => {
		const wire = await connect(closed.url, { token: closed.token({}, 4) });
		const a = `default:refresh-${name}`;
		await wire.call({ subscribe: { channel: a } });
		expect((await wire.call({ refresh: { token: "x" } })).error).toMatchObject({ code: 4401 });
		expect((await wire.call({ refresh: { token: closed.token() } })).connected).toBeTruthy();
		await new Promise((resolve) => setTimeout(resolve, 5000)); // past the end of the first
		await closed.publish(a, 1, closed.token());
		await wire.have(a, [1]);
		// One that no longer covers the channel ends the subscription, and nothing else.
		const narrow = closed.token({ caps: { "default:other": ["subscribe"] } });
		await wire.call({ refresh: { token: narrow } });
		const gone = await wire.event((f) => f.unsubscribed);
		expect(gone.unsubscribed).toMatchObject({ channel: a, code: 4700 });
		expect(wire.ends).toEqual([]);
	});

	test("a ping goes to the node and back; a cut is the end", async () => {
		const network = await Network.open(node.address);
		const wire = await connect(network.url);
		await wire.call({ subscribe: { channel: channel("cut") } });
		wire.transport.send({ ping: {} });
		await wire.event((f) => f.pong);
		network.set("refuse");
		network.cut();
		if (name === "poll") wire.transport.send({ ping: {} });
		expect(await wire.end()).toMatchObject({ code: 1006 });
		await network.close();
	});

	test("a node that stops is the end", async () => {
		const other = await Node.start();
		const wire = await connect(other.url);
		await wire.call({ subscribe: { channel: "a" } });
		await until(() => wire.alive > 2);
		await other.stop();
		const end = await wire.end();
		if (name === "sse") {
			expect(wire.frames.at(-1)?.disconnect).toMatchObject({ code: 4000, reconnect: true });
			expect(end.code).toBe(4000);
		} else {
			expect([503, undefined]).toContain(end.status);
		}
	});

	test("nothing is lost or repeated over fifty cuts", async () => {
		const network = await Network.open(node.address);
		const [a, b] = [channel("fifty-a"), channel("fifty-b")];
		const seen: Record<string, number[]> = { [a]: [], [b]: [] };
		const at: Record<string, string> = {};
		let published = 0;
		let done = false;
		const publishing = (async () => {
			while (published < 500) {
				await node.publish(a, published);
				await node.publish(b, published++);
			}
			done = true;
		})();
		for (let cuts = 0; cuts < 50 || !done || (seen[b]?.length ?? 0) < 500; cuts++) {
			if (cuts > 500) throw new Error(JSON.stringify(seen));
			const wire = new Wire(open, network.url);
			const going = async () => {
				await wire.up();
				for (const channel of [a, b]) {
					const position = at[channel];
					await wire.call({
						subscribe: { channel, ...(position ? { position } : { since: 1e12 }) },
					});
				}
			};
			await going().catch(() => {}); // fetch may have taken a connection that was cut
			await new Promise((resolve) => setTimeout(resolve, 20));
			network.cut();
			wire.transport.close();
			for (const f of wire.frames) {
				const body = f.message ?? f.caught_up ?? f.position ?? f.subscribed;
				if (body?.position) at[body.channel] = body.position;
				if (f.message) seen[f.message.channel]?.push(f.message.data);
				expect(f.gap).toBeUndefined();
			}
		}
		await publishing;
		expect(seen[a]).toEqual(numbers(0, 500));
		expect(seen[b]).toEqual(numbers(0, 500));
		await network.close();
	});
});

/** Stores 0 to n-1. */
async function publishMany(channel: string, n: number): Promise<void> {
	for (let from = 0; from < n; from += 500) {
		const messages = numbers(from, Math.min(from + 500, n)).map((data) => ({ channel, data }));
		const r = await fetch(`${node.url}/v1/messages`, {
			method: "POST",
			headers: { "content-type": "application/json" },
			body: JSON.stringify({ messages }),
		});
		if (r.status !== 201) throw new Error(await r.text());
	}
}
