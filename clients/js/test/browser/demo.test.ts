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
	expect([await numberOf(page, "missing"), await numberOf(page, "twice")]).toEqual([0, 0]);
	expect(problems).toEqual([]);
	await page.context().close();
});

test("who has left is called what the messages say, beside the user", async () => {
	const [bob, problems] = await visit();
	await rename(bob, "Robert");
	await say(bob, "see you");
	await bob.waitForSelector('.line[data-status="stored"] .text:text-is("see you")');
	const user = await bob.evaluate(
		() => JSON.parse(localStorage.getItem("rivulet-demo:me") ?? "{}").id,
	);
	await bob.context().close();
	const [ann, more] = await visit();
	const line = ann.locator('.line:has(.text:text-is("see you"))');
	await until(async () => (await line.locator(".mono").count()) === 1);
	expect(await line.locator(".who b").textContent()).toBe("Robert");
	expect((await line.locator(".mono").textContent())?.trim()).toBe(user);
	expect(await line.locator(".avatar").textContent()).toBe("R");
	expect([...problems, ...more]).toEqual([]);
	await ann.context().close();
});

test("a long message is shown as a part of it, and whole when that is asked for", async () => {
	const [page, problems] = await visit();
	await node.publish("chat:lobby", { text: "long ".repeat(10_000) });
	const text = page.locator('.line .text[data-short="true"]');
	await text.waitFor();
	const height = () =>
		page
			.locator(".line .text")
			.last()
			.evaluate((e) => e.clientHeight);
	const short = await height();
	expect(short).toBeLessThan(240);
	await page.click('button:text-is("Show all of it")');
	expect(await height()).toBeGreaterThan(2 * short);
	expect(problems).toEqual([]);
	await page.context().close();
});

test("a cut loses nothing, and what is written meanwhile is sent after it", async () => {
	const [page, problems] = await visit();
	await page.waitForSelector(".feed li");
	const top = () => page.$eval(".chat", (e) => e.getBoundingClientRect().top + scrollY);
	const before = await top();
	await page.focus(".button.cut");
	await page.keyboard.press("Enter");
	await page.waitForSelector('.pill[data-state="retrying"]');
	expect(await top(), "nothing has moved").toBe(before);
	const focused = () => page.evaluate(() => document.activeElement?.className);
	expect(await focused()).toBe("button cut"); // and a second press does nothing
	await page.keyboard.press("Enter");
	await say(page, "from the dark");
	await page.waitForSelector('.line[data-status="sending"] .text:text-is("from the dark")');
	await page.waitForSelector('.proof[data-phase="done"]', { timeout: 60_000 });
	await page.waitForSelector('.line[data-status="stored"] .text:text-is("from the dark")');
	expect(await top(), "nothing has moved").toBe(before);
	const below = await page.$eval(".lines", (e) => e.scrollHeight - e.scrollTop - e.clientHeight);
	expect(below).toBeLessThan(2); // the end is in view
	const stored = await numberOf(page, "stored");
	expect(stored).toBeGreaterThan(5);
	expect(await numberOf(page, "replayed")).toBe(stored);
	for (const label of ["lost", "doubled", "out of order"])
		expect(await numberOf(page, label)).toBe(0);
	expect(await page.locator('.cells li[data-here="true"]').count()).toBe(Math.min(40, stored));
	expect(await page.getAttribute(".verdict", "data-verdict")).toBe("good");
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
	await until(async () => (await numberOf(page, "since you came")) > 0);
	const reconnects = () => page.textContent('.facts dt:text-is("Reconnects") + dd');
	for (const [i, transport] of ["sse", "poll", "websocket"].entries()) {
		const before = await numberOf(page, "since you came");
		await page.selectOption(".controls select", transport);
		await page.waitForSelector(`.pill[data-state="connected"]:has-text("${transport}")`);
		await say(page, `by ${transport}`);
		await page.waitForSelector(`.line[data-status="stored"] .text:text-is("by ${transport}")`);
		await until(async () => (await numberOf(page, "since you came")) > before + 1);
		expect([await numberOf(page, "missing"), await numberOf(page, "twice")]).toEqual([0, 0]);
		expect(await reconnects()).toBe(String(i + 1));
	}
	const said = await page.locator('.line .text:text-matches("^by (sse|poll|websocket)$")').count();
	expect(said, "what was said before is there still").toBe(3);
	expect(problems).toEqual([]);
	await page.context().close();
});

test("what was stored before a visitor came is not counted as since", async () => {
	const [first, problems] = await visit();
	await until(async () => (await numberOf(first, "since you came")) >= 15);
	const [second, more] = await visit();
	await until(async () => (await numberOf(second, "since you came")) > 0);
	const [shown, counted] = await second.evaluate(() => [
		document.querySelectorAll(".feed li").length,
		Number(document.querySelector(".proof dd")?.textContent),
	]);
	const replayed = (shown ?? 0) - (counted ?? 0); // 12, and what came while they did
	expect(replayed).toBeGreaterThanOrEqual(12);
	expect(replayed).toBeLessThan(16);
	expect([...problems, ...more]).toEqual([]);
	await Promise.all([first.context().close(), second.context().close()]);
});

test("a hundred at once are timed apart from those of each second", async () => {
	const [page, problems] = await visit();
	await page.waitForSelector('.latency dd:text-matches("ms$")');
	await page.click('button:text-is("Send 100 at once")');
	await page.waitForSelector('.burst .note:text-matches("^Half were here in .+ ms, all in .+ ms")');
	const label = await page.getAttribute(".plot", "aria-label");
	expect(Number(label?.match(/last (\d+) messages/)?.[1])).toBeLessThan(50);
	expect(problems).toEqual([]);
	await page.context().close();
});

test("what the node refuses is told, with its reason, until it is let in", async () => {
	const page = await (await browser.newContext()).newPage();
	let full = true;
	await page.routeWebSocket(/\/v1\/ws/, (socket) => {
		const server = socket.connectToServer();
		socket.onMessage((frame) => {
			const { id, subscribe } = JSON.parse(String(frame));
			if (!full || !subscribe?.channel.startsWith("chat:")) return server.send(frame);
			const error = { code: 4503, message: "no room", temporary: true, retry_after_ms: 100 };
			socket.send(JSON.stringify({ id, error }));
		});
	});
	await page.route(/chat%3Alobby\/messages/, (route) =>
		full
			? route.fulfill({ status: 503, json: { code: 503, message: "out of disk space; try again" } })
			: route.continue(),
	);
	await page.goto(node.url);
	await page.waitForSelector('.pill[data-refused="true"]:text-is("connected, refused")');
	const notice = (await page.textContent('[role="alert"]')) ?? "";
	expect(notice).toContain("the node refuses the chat");
	expect(notice).toContain("out of disk space");
	expect(notice).toContain("--disk-budget");
	await page.waitForSelector('.chat .empty:text("out of disk space")');
	await say(page, "I wait");
	full = false;
	await page.waitForSelector('.pill[data-refused="false"]');
	expect(await page.textContent('[role="alert"]')).toBe("");
	await page.waitForSelector('.line[data-status="stored"] .text:text-is("I wait")');
	await page.context().close();
});

test("the description of the HTTP API is shown, not downloaded", async () => {
	const [page, problems] = await visit();
	await page.click('a:text-is("HTTP API")');
	await page.waitForSelector('dialog[open] pre:text("openapi: 3")');
	await page.keyboard.press("Escape");
	expect(await page.locator("dialog[open]").count()).toBe(0);
	expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("HTTP API");
	expect(problems).toEqual([]);
	await page.context().close();
});

test("a laptop's window has the chat whole, and a phone's header two rows", async () => {
	const [page] = await visit({ viewport: { width: 1280, height: 800 } });
	const composer = await page.locator(".composer").boundingBox();
	expect((composer?.y ?? 0) + (composer?.height ?? 0)).toBeLessThanOrEqual(800);
	for (const width of [320, 360, 390]) {
		await page.setViewportSize({ width, height: 740 });
		expect(await page.$eval(".top", (e) => e.clientHeight)).toBeLessThan(110);
		expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
		const hero = (await page.locator(".hero").boundingBox())?.width ?? 0;
		for (const part of [".proof", ".cells", ".proof .figures"])
			expect((await page.locator(part).boundingBox())?.width, part).toBeLessThan(hero - 30);
	}
	await page.context().close();
});

test("with forced colors, what is chosen and the picture's words can be seen", async () => {
	const [page, problems] = await visit({ forcedColors: "active" });
	await page.waitForSelector(".feed li");
	const color = (selector: string) =>
		page.$eval(selector, (e) => getComputedStyle(e).backgroundColor);
	const surface = await color(".hero");
	for (const one of [".pill .dot", ".segments label:has(:checked)", ".states [aria-current]"])
		expect(await color(one), one).not.toBe(surface);
	expect(await color(".segments label:not(:has(:checked))")).not.toBe(
		await color(".segments label:has(:checked)"),
	);
	// The part of the pixels where "stored by the node" is that are not the surface's.
	const inked = await page.$eval("canvas.stream", (e) => {
		const c = (e as HTMLCanvasElement).getContext("2d");
		const { data } = c?.getImageData(0, 6, 95, 16) ?? { data: new Uint8ClampedArray() };
		const dark = (i: number) => (data[i + 3] ?? 0) > 128 && (data[i] ?? 0) < 128;
		return [...data.keys()].filter((i) => i % 4 === 0 && dark(i)).length / (data.length / 4);
	});
	expect(inked).toBeGreaterThan(0.03);
	expect(inked).toBeLessThan(0.4);
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
