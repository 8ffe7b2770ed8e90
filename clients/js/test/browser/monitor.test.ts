// The monitor in a real page, of another origin than the node's, up to the node's metrics.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, Site } from "../support/browser.js";
import { Network } from "../support/proxy.js";
import { Node } from "../support/rivulet.js";
import { until } from "../support/until.js";

let site: Site;
let browser: Browser;
let node: Node;
beforeAll(async () => {
	[site, browser] = await Promise.all([Site.open("test/browser/monitor-page.ts"), launch()]);
	node = await Node.start({
		closed: true,
		set: { "session.origins": site.url, "server.telemetry": "true" },
	});
});
afterAll(async () => {
	await browser?.close();
	await site?.close();
	await node?.stop();
});

/** The value of a metric, 0 where there is none yet. */
async function metric(name: string): Promise<number> {
	const text = await (await fetch(`${node.url}/metrics`)).text();
	const line = text.split("\n").find((l) => l.startsWith(`${name} `));
	return Number(line?.split(" ")[1] ?? 0);
}

/** Starts a client that is monitored, and an error and a rejection that nobody catches. */
function watched(page: Page, url: string, what: "keep" | "noErrors"): Promise<void> {
	return page.evaluate(
		async ([url, token, what]) => {
			const w = window as any;
			document.body.append("something to paint");
			w.client = new w.sdk.Client(url, { token, backoff: { base: 20, cap: 100 } });
			w.monitor = w.sdk.monitor(w.client, url, {
				interval: 3_600_000,
				errors: what !== "noErrors",
				before: (report: object) => {
					localStorage.report = JSON.stringify(report);
					return report;
				},
			});
			w.ups = 0;
			w.client.on("state", ({ state }: { state: string }) => {
				if (state === "connected") w.ups++;
			});
			w.client.connect();
			const channel = w.client.channel("default:watched");
			w.got = 0;
			await channel.subscribe({}, { message: () => w.got++ }).ready;
			await channel.publish("a secret");
			await w.client.roundTrip();
			setTimeout(() => {
				throw new TypeError("a secret");
			});
			void Promise.reject(new RangeError("a secret"));
		},
		[url, node.token(), what] as const,
	);
}

test("what happens in a page comes to the node's metrics when it is left", async () => {
	const net = await Network.open(node.address);
	const page = await browser.newPage();
	const thrown: string[] = [];
	await site.visit(page, "/?token=a-secret", thrown);
	// The page is gone when the report goes: it leaves a copy behind.
	await page.evaluate(() => {
		const send = navigator.sendBeacon.bind(navigator);
		navigator.sendBeacon = (url, body) => {
			localStorage.beacon = `${url} ${(body as Blob).type}`;
			return send(url, body);
		};
	});
	await watched(page, net.url, "keep");
	await until(async () => (await page.evaluate("window.got")) === 1 && thrown.length >= 2);
	net.cut();
	await until(async () => (await page.evaluate("window.ups")) === 2);
	await page.waitForFunction(
		() => performance.getEntriesByName("first-contentful-paint").length > 0,
	);
	expect(await page.evaluate("localStorage.beacon")).toBeUndefined();

	await page.goto("about:blank");
	await until(async () => (await metric('rivulet_client_reports_total{result="taken"}')) === 1);
	await page.goto(`${site.url}/left`);
	const kept = await page.evaluate("({ ...localStorage })");
	const { beacon = "", report = "" } = kept as Record<string, string>;
	expect(beacon).toMatch(`${net.url}/v1/telemetry text/plain`);
	expect(JSON.parse(report).errors.length).toBe(2);
	for (const word of ["secret", "watched", node.token().slice(0, 20)]) {
		expect(report).not.toContain(word);
	}
	const counts: Record<string, number> = {
		'rivulet_client_connect_seconds_count{transport="websocket"}': 2,
		rivulet_client_reconnects_total: 1,
		rivulet_client_gaps_total: 0,
		rivulet_client_delivery_seconds_count: 1,
		'rivulet_client_errors_total{kind="uncaught"}': 1,
		'rivulet_client_errors_total{kind="unhandled"}': 1,
		'rivulet_client_paint_seconds_count{paint="first"}': 1,
	};
	const got = Object.fromEntries(
		await Promise.all(Object.keys(counts).map(async (name) => [name, await metric(name)])),
	);
	expect(got).toEqual(counts);
	expect(await metric("rivulet_client_round_trip_seconds_count")).toBeGreaterThanOrEqual(1);
	await page.close();
	await net.close();
});

test("reports go while the page is used, and the page may read the answer", async () => {
	const before = await metric('rivulet_client_reports_total{result="taken"}');
	const page = await browser.newPage();
	await site.visit(page);
	await watched(page, node.url, "noErrors");
	const [response] = await Promise.all([
		page.waitForResponse((r) => r.url().endsWith("/v1/telemetry")),
		page.evaluate("window.monitor.flush()"),
	]);
	expect(response.status()).toBe(200);
	expect(response.headers()["access-control-allow-origin"]).toBe(site.url);
	expect(JSON.parse(response.request().postData() ?? "").errors).toEqual([]);
	expect(await metric('rivulet_client_reports_total{result="taken"}')).toBe(before + 1);
	await page.close();
});

test("a page of an origin that is not allowed reports nothing", async () => {
	const refused = await metric('rivulet_client_reports_total{result="refused"}');
	const other = await Site.open("test/browser/monitor-page.ts");
	const page = await browser.newPage();
	await other.visit(page);
	await page.evaluate(
		([url]) => {
			const w = window as any;
			const client = new w.sdk.Client(url, { transports: ["websocket"] });
			w.monitor = w.sdk.monitor(client, url, { interval: 3_600_000 });
			setTimeout(() => {
				throw new TypeError();
			});
			setTimeout(() => w.monitor.stop());
		},
		[node.url],
	);
	await until(
		async () => (await metric('rivulet_client_reports_total{result="refused"}')) === refused + 1,
	);
	await page.close();
	await other.close();
});
