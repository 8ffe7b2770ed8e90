// The package as it is installed, in each runtime that the README names: the same small program,
// which ends by itself.

import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Order, Seen } from "../runtimes/program.js";
import { app } from "../support/compile.js";
import { fulfill } from "../support/order.js";
import { Node } from "../support/rivulet.js";
import { runtimes } from "../support/runtimes.js";

const main = `
	import * as sdk from "@rivulet-rt/client";
	import { program } from "./program.js";
	const options = globalThis.WebSocket ? {} : { WebSocket: (await import("ws")).WebSocket };
	const seen = await program(sdk, JSON.parse(process.argv[2]), options);
	console.log(JSON.stringify(seen));`;

let node: Node;
beforeAll(async () => {
	await writeFile(join(app(), "main.js"), main);
	node = await Node.start();
});
afterAll(() => node?.stop());

/** Below the 10 s in which a connection must be made: no timer of a client fits in. */
const quick = 5_000;

/** What the program has printed, having ended by itself, at once and without a complaint. */
async function run(binary: string, args: string[], order: Order): Promise<Seen> {
	const child = spawn(binary, [...args, "main.js", JSON.stringify(order)], {
		cwd: app(),
		env: { PATH: process.env.PATH, NO_COLOR: "1" },
		timeout: 40_000,
	});
	const told = { stdout: "", stderr: "" };
	let printed = Number.NaN;
	child.stdout.on("data", (part) => {
		told.stdout += part;
		printed = performance.now();
	});
	child.stderr.on("data", (part) => {
		told.stderr += part;
	});
	const code = await new Promise((resolve, reject) => {
		child.once("error", reject);
		child.once("close", (code, signal) => resolve(code ?? signal));
	});
	expect({ code, stderr: told.stderr, stdout: told.stdout.trimEnd().split("\n").length }).toEqual({
		code: 0,
		stderr: "",
		stdout: 1,
	});
	expect(performance.now() - printed, "ms until it has ended").toBeLessThan(quick);
	return JSON.parse(told.stdout);
}

describe.each(runtimes())("$name", ({ name, binary, args }) => {
	// The pinned Nodes are packages for Linux: elsewhere there is none to run.
	test.skipIf(!binary).each(["websocket", "sse"] as const)("over %s", async (transport) => {
		const channel = `runtimes:${name.replaceAll(/\W/g, "")}.${transport}`;
		await fulfill(node, channel, transport, (order) => run(binary ?? "", args, order));
	});
});
