#!/usr/bin/env node
// A Firefox for Playwright, which drives it over WebDriver BiDi and stops at what an older one, as
// Debian's, does not know: what a page is told of the colors of the desktop. That is answered here.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { WebSocket, WebSocketServer } from "ws";

const optional = "emulation.setMediaFeaturesOverride";
const browser = spawn(process.env.TEST_FIREFOX, process.argv.slice(2), {
	stdio: ["ignore", "inherit", "pipe"],
});
browser.once("error", (e) => {
	console.error(`${e}`);
	process.exit(1);
});
browser.once("exit", (code) => process.exit(code ?? 1));
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) {
	process.on(signal, () => browser.kill(signal));
}

createInterface({ input: browser.stderr }).on("line", (line) => {
	const [, target] = /^WebDriver BiDi listening on (ws:\/\/\S+)$/.exec(line) ?? [];
	if (!target) return console.error(line);
	const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
	server.once("listening", () =>
		console.error(`WebDriver BiDi listening on ws://127.0.0.1:${server.address().port}`),
	);
	server.on("connection", (driver, { url }) => relay(driver, target + url));
});

/** Hands on both ways what is said, but that `optional` is not known. */
function relay(driver, target) {
	const asked = new Set();
	const node = new WebSocket(target, { perMessageDeflate: false });
	const open = new Promise((resolve) => node.once("open", resolve));
	driver.on("message", async (data) => {
		const { id, method } = JSON.parse(data);
		if (method === optional) asked.add(id);
		await open;
		node.send(`${data}`);
	});
	node.on("message", (data) => {
		const { id, error } = JSON.parse(data);
		const unknown = asked.delete(id) && error === "unknown command";
		driver.send(unknown ? JSON.stringify({ type: "success", id, result: {} }) : `${data}`);
	});
	for (const [one, other] of [
		[driver, node],
		[node, driver],
	]) {
		one.on("close", () => other.close());
		one.on("error", () => other.terminate());
	}
}
