// The harness itself: what cuts and swallows must really do so.

import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Network } from "../support/proxy.js";
import { Node, startNATS } from "../support/rivulet.js";
import { until } from "../support/until.js";

let node: Node;
beforeAll(async () => {
	node = await Node.start();
}, 60_000);
afterAll(() => node.stop());

function socket(url: string): Promise<WebSocket> {
	return new Promise((resolve, reject) => {
		const ws = new WebSocket(`${url.replace("http", "ws")}/v1/ws`, ["rivulet.v1.json"]);
		ws.onopen = () => resolve(ws);
		ws.onerror = () => reject(new Error("no WebSocket"));
	});
}

test("a cut breaks what is open and lets the next through", async () => {
	const net = await Network.open(node.address);
	const ws = await socket(net.url);
	let closed = false;
	ws.onclose = () => {
		closed = true;
	};
	expect(net.cut()).toBe(1);
	await until(() => closed);
	(await socket(net.url)).close();
	net.set("refuse");
	await expect(socket(net.url)).rejects.toThrow();
	net.set("no-websocket");
	await expect(socket(net.url)).rejects.toThrow();
	expect(net.turnedAway).toBe(1);
	expect((await fetch(`${net.url}/healthz`)).status).toBe(200);
	await net.close();
});

test("a handshake on a connection that had another request is turned away too", async () => {
	const net = await Network.open(node.address);
	net.set("no-websocket");
	const [host, port] = net.address.split(":");
	const socket = connect(Number(port), host ?? "");
	let answers = "";
	socket.on("data", (part) => {
		answers += part;
	});
	const get = (path: string, ...more: string[]) =>
		socket.write([`GET ${path} HTTP/1.1`, `Host: ${net.address}`, ...more, "", ""].join("\r\n"));
	get("/healthz");
	await until(
		() => answers.includes("200 OK"),
		() => answers,
	);
	get("/v1/ws", "Connection: Upgrade", "Upgrade: websocket");
	await until(() => answers.includes("400 Bad Request"));
	expect(net.turnedAway).toBe(1);
	socket.destroy();
	await net.close();
});

test("two nodes share one log", async () => {
	const nats = await startNATS();
	const [a, b] = await Promise.all([
		Node.start({ nats: nats.url, closed: true }),
		Node.start({ nats: nats.url, closed: true }),
	]);
	await a.publish("default:x", { n: 1 }, a.token());
	const page = await fetch(`${b.url}/v1/channels/default:x/messages`, {
		headers: { Authorization: `Bearer ${b.token()}` },
	});
	expect(JSON.stringify(await page.json())).toContain('"n":1');
	await a.stop();
	await b.kill();
	await nats.stop();
}, 60_000);
