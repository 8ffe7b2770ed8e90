// The demo as people see it: the page of a node with --dev, in a real browser.

import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch } from "../support/browser.js";
import { Node } from "../support/rivulet.js";
import { until } from "../support/until.js";

let browser: Browser;
let node: Node;
beforeAll(async () => {
	[browser, node] = await Promise.all([launch(), Node.start()]);
});
afterAll(async () => {
	await browser?.close();
	await node?.stop();
});

/** A visitor of one's own; `problems` are errors, refusals of the policy, and foreign requests. */
async function visit(options: BrowserContextOptions = {}): Promise<[Page, string[]]> {
	const problems: string[] = [];
	const page = await (await browser.newContext(options)).newPage();
	page.on("pageerror", (e) => problems.push(String(e)));
	page.on("console", (m) => problems.push(m.text()));
	page.on("request", (r) => {
		if (new URL(r.url()).origin !== node.url) problems.push(r.url());
	});
	await page.goto(node.url);
	await page.waitForSelector('.pill[data-state="connected"]');
	return [page, problems];
}

async function rename(page: Page, name: string): Promise<void> {
	await page.click("button.name");
	await page.fill("form.name input", name);
	await page.keyboard.press("Enter");
	await page.waitForSelector(`button.name:has-text("${name}")`);
	await page.waitForSelector('.pill[data-state="connected"]');
}

const say = async (page: Page, text: string): Promise<void> => {
	await page.fill(".composer input", text);
	await page.keyboard.press("Enter");
};
const numberOf = async (page: Page, label: string): Promise<number> =>
	Number(await page.textContent(`.proof dl div:has(dt:text-is("${label}")) dd`));

test("two visitors see each other, and what the other says", async () => {
	const [[ann, problems], [bob, more]] = await Promise.all([visit(), visit()]);
	await rename(ann, "Ann");
	await rename(bob, "Bob");
	await say(ann, "<b>hello</b>");
	await bob.waitForSelector('.line:has(.who b:text-is("Ann")) .text:text-is("<b>hello</b>")');
	await say(bob, "good morning");
	await ann.waitForSelector('.line:has(.who b:text-is("Bob")) .text:text-is("good morning")');
	await until(
		async () => (await ann.textContent(".people summary"))?.includes("2 people") === true,
	);
	await ann.reload();
	await ann.waitForSelector('.line[data-mine="true"] .text:text-is("<b>hello</b>")');
	expect(await ann.textContent("button.name")).toContain("Ann");
	expect([...problems, ...more]).toEqual([]);
	await Promise.all([ann.context().close(), bob.context().close()]);
});

test("odd messages break nothing, and nobody speaks in another's name", async () => {
	for (const data of [null, 1, "x", [], {}, { run: "x", n: 1 }, { run: 1, n: "x", subject: {} }]) {
		await node.publish("demo:commits", data);
		await node.publish("chat:lobby", data);
	}
	await node.publish("chat:lobby", { text: { not: "text" }, name: ["Ann"] });
	const [page, problems] = await visit();
	await rename(page, "Ann");
	await node.publish("demo:commits", { subject: "not of the feed" });
	await node.publish("chat:lobby", { text: "I am Ann", name: "Ann" });
	await page.waitForSelector('.line:has(.who b:text-is("somebody")) .text:text-is("I am Ann")');
	await page.waitForSelector(".feed li");
	await say(page, "No, I am");
	await page.waitForSelector('.line:has(.who b:text-is("Ann")) .text:text-is("No, I am")');
	expect(await page.locator('.line .text:text-is("{}")').count()).toBe(1);
	expect(await page.locator("text=not of the feed").count()).toBe(0);
	expect(await page.textContent(".tally")).toMatch(/ 0 missing · 0 twice$/);
	expect(problems).toEqual([]);
	await page.context().close();
});

test("a cut loses nothing, and what is written meanwhile is sent after it", async () => {
	const [page, problems] = await visit();
	await page.waitForSelector(".feed li");
	await page.focus(".button.cut");
	await page.keyboard.press("Enter");
	await page.waitForSelector('.pill[data-state="retrying"]');
	const focused = () => page.evaluate(() => document.activeElement?.className);
	expect(await focused()).toBe("button cut"); // and a second press does nothing
	await page.keyboard.press("Enter");
	await say(page, "from the dark");
	await page.waitForSelector('.line[data-status="sending"] .text:text-is("from the dark")');
	await page.waitForSelector('.proof[data-phase="done"]', { timeout: 60_000 });
	await page.waitForSelector('.line[data-status="stored"] .text:text-is("from the dark")');
	const below = await page.$eval(".lines", (e) => e.scrollHeight - e.scrollTop - e.clientHeight);
	expect(below).toBeLessThan(2); // the end is in view
	const stored = await numberOf(page, "stored meanwhile");
	expect(stored).toBeGreaterThan(5);
	expect(await numberOf(page, "replayed")).toBe(stored);
	for (const label of ["lost", "doubled", "out of order"])
		expect(await numberOf(page, label)).toBe(0);
	expect(await page.locator('.cells li[data-here="true"]').count()).toBe(stored);
	expect(await page.textContent(".tally")).toMatch(/ 0 missing · 0 twice$/);
	expect(problems).toEqual([]);
	await page.context().close();
});

test("history is read page by page, and rooms tell what is new", async () => {
	for (let n = 0; n < 70; n++) await node.publish("chat:engineering", { text: `line ${n}` });
	const [page, problems] = await visit();
	// What a room is told of counts from when the pattern has begun, which is after "connected".
	await until(async () => {
		await node.publish("chat:random", { text: "anybody?" });
		return (await page.locator("#room-tab-random .badge").count()) > 0;
	});
	await node.publish("chat:engineering", { text: "news" });
	await page.waitForSelector('#room-tab-engineering .badge:text("1")');
	await page.focus("#room-tab-lobby");
	await page.keyboard.press("ArrowRight");
	await page.waitForSelector('.line .text:text-is("news")');
	// The first page comes with the room, each other one when it is asked for.
	while (!(await page.locator('.line .text:text-is("line 0")').count())) {
		const before = await page.locator(".line").count();
		await page.click('.earlier[aria-disabled="false"]');
		await until(async () => (await page.locator(".line").count()) > before);
	}
	const lines = await page.locator(".line .text").allTextContents();
	expect(lines).toEqual([...Array(70).keys()].map((n) => `line ${n}`).concat("news"));
	expect(problems).toEqual([]);
	await page.context().close();
});

test("every transport carries the page", async () => {
	const [page, problems] = await visit();
	for (const transport of ["sse", "poll", "websocket"]) {
		await page.selectOption(".controls select", transport);
		await page.waitForSelector(`.pill[data-state="connected"]:has-text("${transport}")`);
		await say(page, `by ${transport}`);
		await page.waitForSelector(`.line[data-status="stored"] .text:text-is("by ${transport}")`);
		await page.waitForSelector(".feed li");
	}
	expect(problems).toEqual([]);
	await page.context().close();
});

test("it fits a phone, in both themes, and the keyboard finds all of it", async () => {
	const [page, problems] = await visit({ viewport: { width: 360, height: 740 } });
	const background = () =>
		page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
	expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
	const light = await background();
	await page.click('.segments input[value="dark"]', { force: true });
	expect(await background()).not.toBe(light);
	await page.reload();
	await page.waitForSelector('.pill[data-state="connected"]');
	expect(await background(), "the theme is kept").not.toBe(light);
	await page.keyboard.press("Tab");
	expect(await page.evaluate(() => document.activeElement?.className)).toBe("skip");
	const met = new Set<string>();
	for (;;) {
		await page.keyboard.press("Tab");
		const at = await page.evaluate(() => {
			const e = document.activeElement;
			const ring = e && getComputedStyle(e).outlineStyle !== "none";
			return [e?.className || e?.id || e?.tagName, ring || e instanceof HTMLInputElement];
		});
		if (at[0] === "BODY") break; // all around
		expect(at[1], `a visible focus on ${at[0]}`).toBe(true);
		met.add(String(at[0]));
	}
	for (const one of ["name", "button cut", "room-tab-lobby", "lines", "code-tab-page", "PRE"]) {
		expect([...met]).toContain(one);
	}
	expect(problems).toEqual([]);
	await page.context().close();
});
