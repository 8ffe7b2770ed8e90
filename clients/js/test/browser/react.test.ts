// The hooks in a real React, in strict mode, which mounts everything twice.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, ofNetwork, Site } from "../support/browser.js";
import { Network } from "../support/proxy.js";
import { Node } from "../support/rivulet.js";

let site: Site;
let browser: Browser;
let node: Node;
beforeAll(async () => {
	[site, browser, node] = await Promise.all([
		Site.open("test/browser/react-app.tsx"),
		launch(),
		Node.start(),
	]);
});
afterAll(async () => {
	await browser?.close();
	await site?.close();
	await node?.stop();
});

async function app(url: string, transport: string, errors: string[]): Promise<Page> {
	const page = await browser.newPage();
	page.on("console", (m) => {
		if (m.type() === "error") errors.push(m.text());
	});
	await site.visit(page, "/", errors);
	await page.evaluate(([u, t]) => (window as any).sdk.start(u, [t]), [url, transport]);
	await shows(page, "live", "live");
	return page;
}

const shows = (page: Page, id: string, text: string) =>
	page.waitForFunction(
		([id, text]) => document.getElementById(id as string)?.innerText === text,
		[id, text],
		{ timeout: 30_000 },
	);

for (const transport of ["websocket", "sse"]) {
	test(`rooms, members and cuts, over ${transport}`, async () => {
		const errors: string[] = [];
		const room = (name: string) => `chat:${name}`;
		const net = await Network.open(node.address);
		for (const name of ["first", "second"]) {
			for (let n = 0; n < 7; n++) await node.publish(room(name), `${name} ${n}`);
		}
		const [a, b] = [await app(net.url, transport, errors), await app(node.url, transport, errors)];
		await shows(a, "state", "connected");
		await shows(a, "messages", [2, 3, 4, 5, 6].map((n) => `first ${n}`).join("\n"));
		// Members come to be looked at while the messages are: nothing of these is shown twice.
		await a.click("#members");
		await shows(a, "who", "2 of 2");
		await b.click("#say");
		await shows(a, "messages", ["first 3", "first 4", "first 5", "first 6", "hello"].join("\n"));
		net.cut();
		for (let n = 0; n < 4; n++) await node.publish(room("first"), `after ${n}`);
		await shows(a, "messages", ["hello", "after 0", "after 1", "after 2", "after 3"].join("\n"));
		await a.click("#other");
		await shows(a, "messages", [2, 3, 4, 5, 6].map((n) => `second ${n}`).join("\n"));
		await shows(a, "who", "1 of 1");
		expect(await a.innerText("#gap")).toBe("");
		expect(errors.filter((e) => !ofNetwork.test(e))).toEqual([]);
		await a.close();
		await b.close();
		await net.close();
	});
}
