// Two people chat while their network and the nodes break: every message once, in order, in
// both pages. More of it: CHAOS_CUTS=500 npx vitest run --project browser test/browser/chaos.test.ts

import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, Site } from "../support/browser.js";
import { Network } from "../support/proxy.js";
import { Node, startNATS } from "../support/rivulet.js";
import { say, seen, talk } from "../support/talk.js";
import { until } from "../support/until.js";

const cuts = Number(process.env.CHAOS_CUTS ?? 50);
const perCut = 20; // messages of each page

let site: Site;
let browser: Browser;
let nats: { url: string; stop(): Promise<void> };
beforeAll(async () => {
	[site, browser, nats] = await Promise.all([Site.open(), launch(), startNATS()]);
});
afterAll(async () => {
	await browser?.close();
	await site?.close();
	await nats?.stop();
});

/** A node behind a network, and who is there. */
interface Side {
	node: Node;
	network: Network;
	context: BrowserContext;
	page: Page;
}

function start(listen?: string): Promise<Node> {
	return Node.start({ nats: nats.url, ...(listen ? { listen } : {}) });
}

async function side(): Promise<Side> {
	const node = await start();
	const context = await browser.newContext();
	return {
		node,
		network: await Network.open(node.address),
		context,
		page: await context.newPage(),
	};
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Each breaks something and mends it before it ends: the way of both pages, or one node. */
const breakages: Record<string, (all: Side[], one: Side) => Promise<void>> = {
	"connections reset": async (all) => {
		for (const s of all) s.network.cut();
	},
	"network refuses": async (all) => {
		for (const s of all) {
			s.network.set("refuse");
			s.network.cut();
		}
		await pause(200);
		for (const s of all) s.network.set("pass");
	},
	"network swallows": async (all) => {
		for (const s of all) s.network.set("swallow");
		await pause(300);
		for (const s of all) {
			s.network.cut();
			s.network.set("pass");
		}
	},
	"browser offline": async (all) => {
		await Promise.all(all.map((s) => s.context.setOffline(true)));
		for (const s of all) s.network.cut();
		await pause(200);
		await Promise.all(all.map((s) => s.context.setOffline(false)));
	},
	"kill -9 of the node": async (_, s) => {
		const { address } = s.node;
		await s.node.kill();
		s.node = await start(address);
	},
	"rolling restart": async (_, s) => {
		const { address } = s.node;
		await s.node.stop();
		s.node = await start(address);
	},
};

test(`${cuts} cuts during ${2 * cuts * perCut} messages`, { timeout: 600_000 }, async () => {
	const sides = [await side(), await side()];
	const urls = sides.map((s) => s.network.url);
	const errors: string[] = [];
	for (const [i, s] of sides.entries()) {
		await site.visit(s.page, "/", errors);
		const order = i === 0 ? urls : urls.toReversed();
		await talk(s.page, {
			urls: order,
			channel: "chat:room",
			name: `page${i}`,
			options: { pingInterval: 2000 },
		});
	}
	const kinds = Object.entries(breakages);
	for (let i = 0; i < cuts; i++) {
		const victim = sides[Math.floor(i / kinds.length) % 2] as Side;
		const [, breakIt] = kinds[i % kinds.length] as (typeof kinds)[number];
		const said = sides.map((s, k) => say(s.page, `page${k}`, i * perCut, perCut));
		await pause(Math.random() * 30);
		await Promise.all([breakIt(sides, victim), ...said]);
	}
	const total = 2 * cuts * perCut;
	for (const s of sides) {
		await until(
			async () => (await seen(s.page)).messages.length >= total,
			() => `of ${total} messages`,
			60_000,
		);
	}
	const stored = await history(sides[0] as Side);
	expect(new Set(stored.map(([, data]) => data)).size, "a message was stored twice").toBe(
		stored.length,
	);
	expect(stored.length).toBe(total);
	for (const s of sides) {
		const got = await seen(s.page);
		expect(got.messages).toEqual(stored.map(([offset, data]) => `${offset}:${data}`));
		expect(got.gaps).toEqual([]);
		expect(got.errors).toEqual([]);
		// A third of the cuts is of one page, and one may come before the last is mended.
		const retries = got.states.filter((state) => state.startsWith("retrying")).length;
		expect(retries).toBeGreaterThan(cuts / 3);
	}
	expect(errors).toEqual([]);
	for (const s of sides) {
		await s.context.close();
		await s.network.close();
		await s.node.stop();
	}
});

/** The whole log of the room, page by page, from the node itself. */
async function history(s: Side): Promise<[number, string][]> {
	const all: [number, string][] = [];
	for (let after = ""; ; ) {
		const query = `limit=1000${after ? `&after=${encodeURIComponent(after)}` : ""}`;
		const response = await fetch(`${s.node.url}/v1/channels/chat:room/messages?${query}`);
		const { data } = (await response.json()) as any;
		for (const m of data.messages) all.push([m.offset, JSON.stringify(m.data)]);
		if (!data.more) return all;
		after = data.position;
	}
}
