// The harness itself: a page can reach a node of another origin.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, Site } from "../support/browser.js";
import { Node } from "../support/rivulet.js";

let node: Node;
let site: Site;
let browser: Browser;
beforeAll(async () => {
	[node, site, browser] = await Promise.all([Node.start(), Site.open(), launch()]);
});
afterAll(async () => {
	await browser.close();
	await site.close();
	await node.stop();
});

test("a page has the SDK and a WebSocket to the node", async () => {
	const page = await browser.newPage();
	await site.visit(page);
	expect(await page.evaluate("typeof window.sdk.RivuletError")).toBe("function");
	const opened = await page.evaluate(
		(url) =>
			new Promise((resolve) => {
				const ws = new WebSocket(url, ["rivulet.v1.json"]);
				ws.onopen = () => resolve(ws.protocol);
				ws.onerror = () => resolve("failed");
			}),
		`${node.url.replace("http", "ws")}/v1/ws`,
	);
	expect(opened).toBe("rivulet.v1.json");
	await page.close();
});
