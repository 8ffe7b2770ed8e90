// What a page goes through: tokens that expire, sleep, the back/forward cache, a network without
// WebSockets, and being loaded anew.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isFirefox, launch, Site } from "../support/browser.js";
import { Network } from "../support/proxy.js";
import { Node } from "../support/rivulet.js";
import { seen, talk } from "../support/talk.js";
import { until } from "../support/until.js";

let site: Site;
let browser: Browser;
let node: Node;
beforeAll(async () => {
	[site, browser, node] = await Promise.all([Site.open(), launch(), Node.start()]);
});
afterAll(async () => {
	await browser?.close();
	await site?.close();
	await node?.stop();
});

/** What Firefox cannot be told by those who drive it, or only when there is time enough. */
const chromiumTest = test.skipIf(isFirefox);

const has = async (page: Page, count: number) => (await seen(page)).messages.length === count;
const numbers = async (page: Page) =>
	(await seen(page)).messages.map((m) => Number(m.split(":")[1]));

chromiumTest("a token that expires is refreshed, and nobody notices", async () => {
	const guarded = await Node.start({
		closed: true,
		set: { "session.origins": site.url, "auth.hmac.leeway": "0s" },
	});
	const page = await browser.newPage();
	await site.visit(page);
	const reasons: string[] = [];
	await page.exposeFunction("fresh", (reason: string) => {
		reasons.push(reason);
		return guarded.token({}, 12);
	});
	await talk(page, { urls: [guarded.url], channel: "default:news", name: "t", tokens: "fresh" });
	let sent = 0;
	while (reasons.length < 3) {
		await guarded.publish("default:news", sent++, guarded.token());
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
	await until(() => has(page, sent));
	expect(await numbers(page)).toEqual([...Array(sent).keys()]);
	expect(reasons).toEqual(["connect", "expiring", "expiring"]);
	expect((await seen(page)).states).toEqual(["connecting", "connected"]);
	await page.close();
	await guarded.stop();
});

chromiumTest("a page that was frozen has everything when it wakes", async () => {
	const net = await Network.open(node.address);
	const page = await browser.newPage();
	await site.visit(page);
	await talk(page, { urls: [net.url], channel: "chat:sleep", name: "t" });
	await node.publish("chat:sleep", 0);
	await until(() => has(page, 1));
	const cdp = await page.context().newCDPSession(page);
	await cdp.send("Page.setWebLifecycleState", { state: "frozen" });
	net.cut();
	for (let n = 1; n <= 20; n++) await node.publish("chat:sleep", n);
	await cdp.send("Page.setWebLifecycleState", { state: "active" });
	await until(() => has(page, 21));
	expect(await numbers(page)).toEqual([...Array(21).keys()]);
	expect((await seen(page)).errors).toEqual([]);
	await page.close();
	await net.close();
});

chromiumTest("a page that comes back from the back/forward cache has everything", async () => {
	const caching = await launch(["--disable-back-forward-cache"]);
	const page = await caching.newPage();
	await site.visit(page, "/first");
	await talk(page, { urls: [node.url], channel: "chat:back", name: "t" });
	await page.evaluate(() => {
		(window as any).persisted = [];
		addEventListener("pageshow", (e) => (window as any).persisted.push(e.persisted));
	});
	await node.publish("chat:back", 0);
	await until(() => has(page, 1));
	await page.goto(`${site.url}/second`);
	for (let n = 1; n <= 20; n++) await node.publish("chat:back", n);
	await page.goBack({ waitUntil: "commit" });
	expect(await page.evaluate("window.persisted"), "the page was not kept").toEqual([true]);
	await until(() => has(page, 21));
	expect(await numbers(page)).toEqual([...Array(21).keys()]);
	await caching.close();
});

test("without WebSockets it is an event stream, and the next page knows", async () => {
	const net = await Network.open(node.address);
	net.set("no-websocket");
	const context = await browser.newContext();
	const page = await context.newPage();
	await site.visit(page);
	const options = { urls: [net.url], channel: "chat:plain", name: "t", store: true };
	await talk(page, options);
	expect((await seen(page)).transports).toEqual(["sse"]);
	await page.evaluate(() => (window as any).channel.publish(0));
	for (let n = 1; n <= 20; n++) {
		await node.publish("chat:plain", n);
		if (n === 10) net.cut();
	}
	await until(() => has(page, 21));
	expect(await numbers(page)).toEqual([...Array(21).keys()]);
	const turnedAway = net.turnedAway;
	expect(turnedAway).toBeGreaterThan(0);
	await site.visit(page);
	await talk(page, options);
	expect((await seen(page)).transports).toEqual(["sse"]);
	expect(net.turnedAway, "it tried a WebSocket again").toBe(turnedAway);
	await context.close();
	await net.close();
});

test("a page that is loaded anew goes on where it was", async () => {
	const context = await browser.newContext();
	const page = await context.newPage();
	await site.visit(page);
	const options = {
		urls: [node.url],
		channel: "chat:kept",
		name: "t",
		store: true,
		subscribe: { persist: true },
	};
	await talk(page, options);
	for (let n = 0; n < 10; n++) await node.publish("chat:kept", n);
	await until(() => has(page, 10));
	await page.goto("about:blank");
	for (let n = 10; n < 20; n++) await node.publish("chat:kept", n);
	await site.visit(page);
	await talk(page, options);
	await until(() => has(page, 10));
	expect(await numbers(page)).toEqual([...Array(10).keys()].map((n) => n + 10));
	await context.close();
});

test("nothing is left of a client that was closed", async () => {
	const page = await browser.newPage();
	await site.visit(page);
	await talk(page, { urls: [node.url], channel: "chat:closed", name: "t" });
	const after = await page.evaluate(async () => {
		const w = window as any;
		w.client.close();
		await Promise.race([w.channel.publish(1), new Promise((r) => setTimeout(r, 1000))]).catch(
			(e: any) => {
				w.code = e.constructor === w.sdk.RivuletError;
			},
		);
		return { state: w.client.state, refused: w.code, errors: w.seen.errors };
	});
	expect(after).toEqual({ state: "closed", refused: true, errors: [] });
	await page.close();
});

test("what is published without a network is stored when there is one again", async () => {
	const page = await browser.newPage();
	await site.visit(page);
	await page.context().setOffline(true);
	await page.evaluate((url) => {
		const { sdk } = window as any;
		const client = new sdk.Client(url, { lifecycle: false });
		const lost = new Promise<void>((resolve) =>
			client.on("state", ({ state }: { state: string }) => state === "retrying" && resolve()),
		);
		const done = client.channel("chat:early").publish("early");
		Object.assign(window, { client, lost, done });
	}, node.url);
	await page.evaluate("lost");
	await page.context().setOffline(false);
	expect(await page.evaluate("done")).toMatchObject({ channel: "chat:early", duplicate: false });
	await page.evaluate("client.close()");
	await page.close();
});
