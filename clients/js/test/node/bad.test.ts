// What the client does with servers that are none, or in trouble: docs and README have the table.

import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { WebSocket as NodeWebSocket, type WebSocket } from "ws";
import {
	Client,
	type ClientOptions,
	type RivuletError,
	type StateChange,
} from "../../src/index.js";
import { type BadServer, badServer, captivePortal, refuses } from "../support/bad.js";
import { Network } from "../support/proxy.js";
import { Node } from "../support/rivulet.js";
import { until } from "../support/until.js";

let node: Node;
let guarded: Node;
beforeAll(async () => {
	[node, guarded] = await Promise.all([
		Node.start(),
		Node.start({ closed: true, set: { "auth.hmac.leeway": "0s" } }),
	]);
});
afterAll(async () => {
	await node?.stop();
	await guarded?.stop();
});

const open: { close(): unknown }[] = [];
afterEach(async () => {
	for (const thing of open.splice(0).reverse()) await thing.close();
});

function client(url: string, options: Partial<ClientOptions> = {}): [Client, StateChange[]] {
	const states: StateChange[] = [];
	const c = new Client(url, {
		WebSocket: NodeWebSocket as unknown as NonNullable<ClientOptions["WebSocket"]>,
		backoff: { base: 20, cap: 100 },
		...options,
	});
	open.push(c);
	c.on("state", (change) => states.push(change));
	return [c, states];
}

const garbage = (ws: WebSocket) => ws.on("message", () => ws.send("\u0000 hello, I am not JSON"));

/** It comes back until the right server is there, which it then uses. */
describe("comes back after", () => {
	const servers: Record<
		string,
		{ make: () => Promise<BadServer>; code: number; connectTimeout?: number }
	> = {
		"garbage over the WebSocket": {
			make: () => badServer(refuses(404), garbage),
			code: 4200,
		},
		"a captive portal": { make: () => badServer(captivePortal), code: 1006 },
		"a server with another subprotocol": {
			make: () => badServer(refuses(404), () => {}, "soap"),
			code: 1006,
		},
		"a server that chooses no subprotocol": {
			make: () => badServer(refuses(404), () => {}, false),
			code: 1006,
		},
		"a server that answers connect with silence": {
			make: () => badServer(refuses(404), () => {}),
			code: 1006,
			connectTimeout: 200, // of the others none is to be given up for being slow
		},
		"an event that is far too deep": {
			make: () => badServer(refuses(404), (ws) => ws.send("[".repeat(100_000))),
			code: 4200,
		},
	};
	for (const [name, { make, code, connectTimeout }] of Object.entries(servers)) {
		test(name, async () => {
			const bad = await make();
			open.push(bad);
			const net = await Network.open(bad.address);
			open.push(net);
			const [c, states] = client(net.url, connectTimeout ? { connectTimeout } : {});
			c.connect();
			await until(() => states.filter((s) => s.state === "retrying").length >= 3);
			expect(states.some((s) => s.state === "connected")).toBe(false);
			for (const s of states) if (s.state === "retrying") expect(s.error?.code).toBe(code);
			net.lead(node.address);
			await until(() => c.state === "connected");
			await expect(c.channel("chat:bad").publish("now it works")).resolves.toMatchObject({
				duplicate: false,
			});
		});
	}
});

describe("a token that the node does not take", () => {
	for (const transport of ["websocket", "sse", "poll"] as const) {
		test(`ends the client, over ${transport}`, async () => {
			const [c, states] = client(guarded.url, { token: "nonsense", transports: [transport] });
			const failure = await c.ready().catch((e: RivuletError) => e);
			expect(failure).toMatchObject({
				name: "RivuletError",
				advice: expect.stringContaining("token"),
			});
			expect(states.at(-1)).toMatchObject({
				state: "closed",
				error: { code: (failure as RivuletError).code },
			});
			expect([4201, 4401]).toContain((failure as RivuletError).code);
		});
		test(`is asked for once more where it can be, over ${transport}`, async () => {
			const reasons: string[] = [];
			const token = (reason: string) => {
				reasons.push(reason);
				return reason === "rejected" ? guarded.token() : "nonsense";
			};
			const [c] = client(guarded.url, { token, transports: [transport] });
			await c.ready();
			expect(reasons).toEqual(["connect", "rejected"]);
		});
	}
});

describe("the node says when to come back", () => {
	for (const status of [429, 503]) {
		test(`after ${status}, over an event stream`, async () => {
			const bad = await badServer(refuses(status, { "Retry-After": "1" }));
			open.push(bad);
			const [c, states] = client(`http://${bad.address}`, { transports: ["sse"] });
			c.connect();
			await until(() => bad.asked.length >= 2);
			const [first = 0, second = 0] = bad.asked;
			expect(second - first).toBeGreaterThanOrEqual(990);
			expect(states.find((s) => s.state === "retrying")?.retryIn).toBeGreaterThanOrEqual(1000);
		});
	}
	test("403 ends the client", async () => {
		const bad = await badServer(refuses(403));
		open.push(bad);
		const [c, states] = client(`http://${bad.address}`, { transports: ["sse"] });
		c.connect();
		await until(() => c.state === "closed");
		expect(states.at(-1)?.error?.advice).not.toBe("");
		expect(bad.asked.length).toBe(1);
	});
});

test("a message that is too large is refused, and the connection stays", async () => {
	const [c, states] = client(node.url);
	await c.ready();
	const big = "x".repeat(200_000);
	await expect(c.channel("chat:big").publish(big)).rejects.toMatchObject({ code: 4413 });
	await c.channel("chat:big").publish("small");
	expect(states.map((s) => s.state)).toEqual(["connecting", "connected"]);
});

describe("a clock that is wrong by hours", () => {
	for (const hours of [-30, 30]) {
		test(`${hours} h`, async () => {
			const now = Date.now();
			vi.useFakeTimers({ toFake: ["Date"], now: now + hours * 3_600_000 });
			try {
				let asked = 0;
				const token = () => {
					asked++;
					const real = Math.floor(now / 1000);
					return guarded.token({ iat: real, exp: real + 60 });
				};
				const [c] = client(guarded.url, { token });
				const sub = c.channel("default:clock").subscribe();
				await sub.ready;
				await c.channel("default:clock").publish(1);
				for await (const m of sub) {
					expect(m.data).toBe(1);
					break;
				}
				expect(asked).toBe(1);
			} finally {
				vi.useRealTimers();
			}
		});
	}
});
