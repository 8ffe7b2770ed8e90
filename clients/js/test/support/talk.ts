// What the pages of the browser tests do, run in the page.

import type { Page } from "playwright-core";

/** How a page's client is made; `tokens` is the name of a function exposed to the page. */
export interface TalkOptions {
	urls: string[];
	channel: string;
	name: string;
	options?: Record<string, unknown>;
	subscribe?: Record<string, unknown>;
	tokens?: string;
	store?: boolean;
}

/** What a page has seen so far. */
export interface Seen {
	state: string;
	states: string[];
	transports: string[];
	/** `offset:data` of every message, in the order of arrival. */
	messages: string[];
	gaps: string[];
	errors: string[];
}

/** Connects the page and subscribes, keeping what it sees in `window.seen`. */
export async function talk(page: Page, o: TalkOptions): Promise<void> {
	await page.evaluate(async (o) => {
		const w = window as any;
		const seen: Seen = {
			state: "",
			states: [],
			transports: [],
			messages: [],
			gaps: [],
			errors: [],
		};
		w.seen = seen;
		w.addEventListener("unhandledrejection", (e: any) =>
			seen.errors.push(`unhandled: ${e.reason}`),
		);
		w.client = new w.sdk.Client(o.urls[0], {
			urls: o.urls.slice(1),
			name: o.name,
			onError: (e: unknown) => seen.errors.push(`${e}`),
			...(o.tokens ? { token: (reason: string) => w[o.tokens ?? ""](reason) } : {}),
			...(o.store ? { storage: localStorage } : {}),
			...o.options,
		});
		w.client.on("state", (c: any) => {
			seen.state = c.state;
			seen.states.push(c.error ? `${c.state} ${c.error.code}` : c.state);
			if (c.transport) seen.transports.push(c.transport);
		});
		w.channel = w.client.channel(o.channel);
		w.sub = w.channel.subscribe(o.subscribe ?? {}, {
			message: (m: any) => seen.messages.push(`${m.offset}:${JSON.stringify(m.data)}`),
			update: (u: any) => {
				if (u.type === "gap") seen.gaps.push(`${u.reason} ${u.advice}`);
			},
		});
		await w.sub.ready;
	}, o);
}

export function seen(page: Page): Promise<Seen> {
	return page.evaluate("window.seen") as Promise<Seen>;
}

/** Publishes `count` values `{from, n}`, a few at a time, and waits until all are stored. */
export function say(page: Page, from: string, first: number, count: number): Promise<void> {
	return page.evaluate(
		async ({ from, first, count }) => {
			const w = window as any;
			const pending: Promise<unknown>[] = [];
			for (let n = first; n < first + count; n++) pending.push(w.channel.publish({ from, n }));
			await Promise.all(pending);
		},
		{ from, first, count },
	);
}
