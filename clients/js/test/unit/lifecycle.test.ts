// The page: hidden, frozen, off the network, in the back/forward cache.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ClientOptions } from "../../src/types.js";
import { setup } from "./fake/setup.js";

let page: EventTarget;
let document: { visibilityState: string };
let navigator: { onLine: boolean };
let listeners = 0;

beforeEach(() => {
	page = new EventTarget();
	document = { visibilityState: "visible" };
	navigator = { onLine: true };
	listeners = 0;
	vi.stubGlobal("document", document);
	vi.stubGlobal("navigator", navigator);
	vi.stubGlobal("addEventListener", (...args: Parameters<EventTarget["addEventListener"]>) => {
		listeners++;
		page.addEventListener(...args);
	});
	vi.stubGlobal("removeEventListener", (...args: Parameters<EventTarget["addEventListener"]>) => {
		listeners--;
		page.removeEventListener(...args);
	});
});

afterEach(() => vi.unstubAllGlobals());

const happens = (name: string) => page.dispatchEvent(new Event(name));

async function online(options: ClientOptions = {}) {
	const all = setup({ lifecycle: true, ...options });
	all.client.connect();
	await all.clock.pass(0);
	all.network.socket.greet();
	return all;
}

describe("a page", () => {
	test("without a network waits for one, tries seldom, and at once when it is there", async () => {
		const { client, clock, network, states } = await online();
		navigator.onLine = false;
		network.socket.drop();
		expect(states.at(-1)).toMatchObject({ state: "retrying", previous: "connected" });
		expect(states.at(-1)).not.toHaveProperty("retryIn");
		await clock.pass(29_999);
		expect(network.sockets.length).toBe(1);
		await clock.pass(20_000);
		expect(network.sockets.length).toBe(2);
		network.socket.drop();
		navigator.onLine = true;
		happens("online");
		await clock.pass(0);
		expect(network.sockets.length).toBe(3);
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("without a network, or so the browser says, reaches a node all the same", async () => {
		const { client, clock, network, states } = await online();
		navigator.onLine = false;
		network.socket.drop();
		await clock.pass(40_000);
		network.socket.greet();
		expect(states.at(-1)?.state).toBe("connected");
		client.close();
	});

	test("that goes offline while waiting stops, and while connected asks", async () => {
		const { client, clock, network } = await online();
		happens("offline");
		network.socket.take("ping");
		await clock.pass(5_000);
		expect(client.state).toBe("retrying");
		navigator.onLine = false;
		happens("offline");
		await clock.pass(29_999);
		expect(network.sockets.length).toBe(1);
		await clock.pass(1);
		expect(network.sockets.length).toBe(2);
		client.close();
		expect(clock.timers.size).toBe(0);
	});

	test("that comes to the front asks for a sign of life, or tries at once", async () => {
		const { client, clock, network } = await online({ random: () => 1 });
		document.visibilityState = "hidden";
		happens("visibilitychange");
		expect(network.socket.has("ping")).toBe(false);
		document.visibilityState = "visible";
		happens("visibilitychange");
		network.socket.take("ping");
		network.socket.push({ pong: {} });
		await clock.pass(6_000);
		expect(client.state).toBe("connected");
		network.socket.drop();
		happens("visibilitychange");
		await clock.pass(0);
		expect(network.sockets.length).toBe(2);
		client.close();
	});

	test.each([
		["pagehide", "pageshow"],
		["freeze", "resume"],
	])("after %s has no connection, and has it back after %s", async (away, back) => {
		const { client, clock, network, states } = await online();
		happens(away);
		expect(client.state).toBe("disconnected");
		expect(network.socket.readyState).toBe(3);
		expect(clock.timers.size).toBe(0);
		happens(back);
		await clock.pass(0);
		network.socket.greet();
		expect(states.at(-1)?.state).toBe("connected");
		client.close();
	});

	test("does not undo what the application wants", async () => {
		const { client, clock } = await online();
		client.disconnect();
		happens("pagehide");
		happens("pageshow");
		happens("online");
		await clock.pass(60_000);
		expect(client.state).toBe("disconnected");
		client.connect();
		expect(client.state).toBe("connecting");
		client.close();
	});

	test("is not listened to before the first use, nor after the end, nor against the wish", async () => {
		const idle = setup({ lifecycle: true });
		expect(listeners).toBe(0);
		idle.client.close();
		const { client } = await online();
		expect(listeners).toBe(7);
		client.close();
		expect(listeners).toBe(0);
		const off = await online({ lifecycle: false });
		expect(listeners).toBe(0);
		off.client.close();
	});

	test("is not listened to by a client that was closed when it began", async () => {
		const { client, clock } = setup({ lifecycle: true });
		client.on("state", ({ state }) => state === "connecting" && client.close());
		client.connect();
		await clock.pass(0);
		expect(client.state).toBe("closed");
		expect(listeners).toBe(0);
		expect(clock.timers.size).toBe(0);
	});

	test("that is hidden for good has its positions saved", async () => {
		const saved = new Map<string, string>();
		const storage = {
			getItem: (key: string) => saved.get(key) ?? null,
			setItem: (key: string, value: string) => void saved.set(key, value),
			removeItem: (key: string) => void saved.delete(key),
		};
		const { client, clock, network } = await online({ storage });
		client.channel("a").subscribe({ persist: true }, { message: () => {} });
		await clock.pass(0);
		network.socket.answer("subscribe", {
			subscribed: { channel: "default:a", position: "s0AAA001-1-x", recovered: true },
		});
		const message = { channel: "default:a", offset: 2, position: "s0AAA001-2-x", time: 1, data: 1 };
		network.socket.push({ message });
		await new Promise(setImmediate);
		happens("pagehide");
		expect(saved.get("rivulet:node.test:position:default:a")).toBe("s0AAA001-2-x");
		client.close();
	});
});
