// The transports over HTTP in a real browser, from a page of another origin.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { launch, Site } from "../support/browser.js";
import { Node } from "../support/rivulet.js";
import { seen, talk } from "../support/talk.js";
import { until } from "../support/until.js";

let site: Site;
let browser: Browser;
let guarded: Node;
beforeAll(async () => {
	[site, browser] = await Promise.all([Site.open(), launch()]);
	guarded = await Node.start({ closed: true, set: { "session.origins": site.url } });
});
afterAll(async () => {
	await browser?.close();
	await site?.close();
	await guarded?.stop();
});

const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);
const values = async (page: Page) =>
	(await seen(page)).messages.map((m) => Number(m.slice(m.indexOf(":") + 1)));

describe.each(["sse", "poll"])("%s", (transport) => {
	test("a page of an allowed origin subscribes, publishes and reads, with a token", async () => {
		const page = await browser.newPage();
		const errors: string[] = [];
		await site.visit(page, "/", errors);
		await page.exposeFunction("fresh", () => guarded.token());
		const channel = `default:page-${transport}`;
		await talk(page, {
			urls: [guarded.url],
			channel,
			name: "t",
			tokens: "fresh",
			options: { transports: [transport] },
		});
		// More channels than a browser has connections, beside it.
		await page.evaluate(async () => {
			const w = window as any;
			w.more = [...Array(12).keys()].map((i) => w.client.channel(`more${i}`).subscribe());
			await Promise.all(w.more.map((s: any) => s.ready));
		});
		await page.evaluate(async () => {
			for (let n = 0; n < 20; n++) await (window as any).channel.publish(n);
		});
		await until(async () => (await values(page)).length === 20);
		expect(await values(page)).toEqual(numbers(20));
		const history = await page.evaluate(async () => {
			const h = await (window as any).channel.history({ limit: 5, order: "desc" });
			return h.messages.map((m: any) => m.data);
		});
		expect(history).toEqual([19, 18, 17, 16, 15]);
		const { transports, gaps } = await seen(page);
		expect([transports, gaps, (await seen(page)).errors, errors]).toEqual([
			[transport],
			[],
			[],
			[],
		]);
		await page.close();
	});

	test("a page of another origin reads nothing, and is told", async () => {
		const other = await Site.open();
		const page = await browser.newPage();
		await other.visit(page);
		const states = await page.evaluate(
			async ({ url, token, transport }) => {
				const w = window as any;
				const client = new w.sdk.Client(url, { token, transports: [transport] });
				const states: string[] = [];
				await new Promise<void>((resolve) => {
					client.on("state", (c: any) => {
						states.push(c.state);
						if (c.state === "retrying") resolve();
					});
					client.connect();
				});
				client.close();
				return states;
			},
			{ url: guarded.url, token: guarded.token(), transport },
		);
		expect(states.slice(0, 2)).toEqual(["connecting", "retrying"]);
		await page.close();
		await other.close();
	});
});
