// The package as it is installed, bundled as an application's workers are, in each kind of worker
// that a browser has: the same small program as in other runtimes.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, test } from "vitest";
import type { Order, Seen } from "../runtimes/program.js";
import { launch, Site } from "../support/browser.js";
import { app } from "../support/compile.js";
import { fulfill } from "../support/order.js";
import { Node } from "../support/rivulet.js";

/** The scripts by their paths: `name` is the one that loads the others. */
async function bundled(name: string, from: string, output = {}): Promise<[string, string][]> {
	const input = join(app(), `${name}-entry.js`);
	const source = `import * as sdk from "${from}"; import { serve } from "./worker.js"; serve(sdk);`;
	await writeFile(input, source);
	const result = await build({
		configFile: false,
		logLevel: "error",
		root: app(),
		build: {
			write: false,
			target: "es2022",
			modulePreload: false,
			rolldownOptions: {
				input,
				output: { entryFileNames: `${name}.js`, chunkFileNames: "[name].js", ...output },
			},
		},
	});
	const chunks = [result].flat().flatMap((r) => ("output" in r ? r.output : []));
	return chunks.flatMap((c) =>
		"code" in c ? [[`/${c.fileName}`, c.code] as [string, string]] : [],
	);
}

let node: Node;
let site: Site;
beforeAll(async () => {
	const scripts = [
		...(await bundled("worker", "@rivulet-rt/client")),
		// One that may load nothing later.
		...(await bundled("service", "@rivulet-rt/client/whole", { format: "iife" })),
	];
	[node, site] = await Promise.all([Node.start(), Site.serve(new Map(scripts))]);
});
afterAll(async () => {
	await site?.close();
	await node?.stop();
});

/** Gives the order to a worker of the page. */
const run = (page: Page, kind: string, order: Order): Promise<Seen> =>
	page.evaluate(
		async ({ kind, order }) => {
			const { port1, port2 } = new MessageChannel();
			const seen = new Promise<any>((resolve, reject) => {
				port1.onmessage = ({ data }) => (typeof data === "string" ? reject(data) : resolve(data));
			});
			if (kind === "page") {
				new Worker("/worker.js", { type: "module" }).postMessage(order, [port2]);
			} else if (kind === "shared") {
				new SharedWorker("/worker.js", { type: "module" }).port.postMessage(order, [port2]);
			} else {
				await navigator.serviceWorker.register("/service.js");
				const { active } = await navigator.serviceWorker.ready;
				active?.postMessage(order, [port2]);
			}
			return seen;
		},
		{ kind, order },
	);

describe.each(["chromium", "firefox"])("%s", (name) => {
	let browser: Browser;
	beforeAll(async () => {
		browser = await launch([], name === "firefox");
	});
	afterAll(() => browser?.close());

	describe.each(["page", "shared", "service"])("the worker: %s", (kind) => {
		test.each(["websocket", "sse"] as const)("over %s", async (transport) => {
			const context = await browser.newContext();
			const page = await context.newPage();
			await page.goto(site.url);
			const channel = `workers:${name}.${kind}.${transport}`;
			await fulfill(node, channel, transport, (order) => run(page, kind, order));
			await context.close();
		});
	});
});
