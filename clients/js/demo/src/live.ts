// One client and all that the page makes of it. It is made anew for another name or
// another transport.

import { Chat } from "./chat.js";
import { Cut } from "./cut.js";
import { Feed } from "./feed.js";
import type { Identity } from "./identity.js";
import { Latency } from "./latency.js";
import { Client, RivuletError, type State, type StateChange, type TransportName } from "./sdk.js";
import { append, Store } from "./store.js";

export interface LogLine {
	readonly id: number;
	readonly at: number;
	readonly state: State;
	readonly text: string;
}

export interface Connection {
	readonly state: State;
	readonly transport?: TransportName | undefined;
	readonly node?: string | undefined;
	readonly client?: string | undefined;
	/** How often it was connected. */
	readonly connects: number;
	/** Milliseconds of the last ping. */
	readonly roundTrip?: number | undefined;
	/** `performance.now()` of the next attempt. */
	readonly retryAt?: number | undefined;
	/** `performance.now()` when the token ends, and how many there were. */
	readonly tokenEnds?: number | undefined;
	readonly tokens: number;
	readonly error?: RivuletError | undefined;
	readonly log: readonly LogLine[];
}

/** Why the node does not let a card have its channel. */
export interface Refusals {
	readonly feed?: string | undefined;
	readonly chat?: string | undefined;
}

export interface Live {
	readonly me: Identity;
	readonly client: Client;
	readonly cut: Cut;
	readonly connection: Store<Connection>;
	readonly refusals: Store<Refusals>;
	readonly feed: Feed;
	readonly chat: Chat;
	readonly latency: Latency;
	close(): void;
}

const logLines = 20;
const pingEvery = 4000;
const lookEvery = 1000;
/** So long a subscription may take to begin, in milliseconds, before it is asked why. */
const beginsWithin = 2500;
const answersWithin = 5000;
const askAgain = 10_000;

/** A token that says who somebody is. The route is there with --dev only. */
async function fetchToken(me: Identity, get: typeof fetch): Promise<[string, number]> {
	const response = await get("/demo/token", {
		method: "POST",
		headers: { "Content-Type": "application/json" },
		body: JSON.stringify({ user: me.id, name: me.name }),
	});
	const answer = await response.json();
	if (!response.ok) throw new RivuletError(4500, `no token: ${answer.message}`);
	return [answer.data.token, answer.data.expires_in_ms];
}

function describe(c: StateChange): string {
	if (c.state === "connected") return `by ${c.transport ?? "?"}`;
	if (c.state === "retrying" && c.retryIn !== undefined) return `in ${Math.round(c.retryIn)} ms`;
	return c.state === "closed" ? (c.error?.message ?? "") : "";
}

function follow(client: Client, connection: Store<Connection>): () => void {
	const off = client.on("state", (c: StateChange) => {
		const old = connection.value;
		const line = {
			id: (old.log.at(-1)?.id ?? 0) + 1,
			at: Date.now(),
			state: c.state,
			text: describe(c),
		};
		const up = c.state === "connected";
		connection.set({
			state: c.state,
			transport: up ? c.transport : undefined,
			node: up ? c.node : old.node,
			client: up ? c.client : undefined,
			connects: old.connects + (up && c.previous !== "connected" ? 1 : 0),
			retryAt: c.retryIn === undefined ? undefined : performance.now() + c.retryIn,
			error: c.error,
			log: append(old.log, line, logLines),
		});
	});
	const ping = setInterval(() => {
		if (client.state !== "connected" || document.hidden) return;
		client.roundTrip().then(
			(roundTrip: number) => connection.set({ roundTrip }),
			() => {}, // it was lost on the way, which the state tells
		);
	}, pingEvery);
	return () => {
		off();
		clearInterval(ping);
	};
}

/** A card that lives of a channel, and whether it has what it needs of the node. */
interface Fed {
	readonly channel: string;
	readonly begun: boolean;
	/** It has begun, and what must come does not. */
	readonly silent?: boolean;
}

/**
 * What the node says of a channel that it refuses, or of storing where nothing comes; over HTTP, for
 * a subscription that is refused for now is tried again without a word.
 */
async function reason(card: Fed, get: typeof fetch): Promise<string | undefined> {
	const signal = AbortSignal.timeout(answersWithin);
	const path = (channel: string) => `/v1/channels/${encodeURIComponent(channel)}/messages`;
	const headers = { "Content-Type": "application/json" };
	const store = { method: "POST", headers, body: JSON.stringify({ data: 0, ttl: 5 }), signal };
	try {
		const response = card.begun
			? await get(path("demo:probe.stored"), store)
			: await get(`${path(card.channel)}?limit=1`, { signal });
		const { message } = await response.json();
		// What comes after it is advice for programs.
		return response.ok ? undefined : String(message).split(";")[0];
	} catch {
		return "it gives no answer";
	}
}

/** Keeps `refusals`; returns how to end that. */
function askWhy(
	client: Client,
	cards: Readonly<Record<keyof Refusals, Fed>>,
	get: typeof fetch,
	refusals: Store<Refusals>,
): () => void {
	const next = { feed: 0, chat: 0 };
	const look = async (name: keyof Refusals): Promise<void> => {
		const card = cards[name];
		const well = (): boolean => client.state !== "connected" || (card.begun && !card.silent);
		const now = performance.now();
		if (well()) {
			next[name] = now + beginsWithin;
			if (refusals.value[name] !== undefined) refusals.set({ [name]: undefined });
		} else if (now >= next[name]) {
			next[name] = now + askAgain;
			const why = await reason(card, get);
			if (!well()) refusals.set({ [name]: why });
		}
	};
	const timer = setInterval(() => {
		look("feed");
		look("chat");
	}, lookEvery);
	return () => clearInterval(timer);
}

/** `before` is the one whose place it takes: what was counted, seen and said there goes on. */
export function createLive(
	me: Identity,
	transports: readonly TransportName[],
	before?: Live,
): Live {
	const cut = new Cut();
	const known = before?.connection.value;
	const connection = new Store<Connection>({
		state: "initialized",
		node: known?.node,
		connects: known?.connects ?? 0,
		tokens: known?.tokens ?? 0,
		log: known?.log ?? [],
	});
	const refusals = new Store<Refusals>({});
	const client = new Client(location.origin, {
		name: "rivulet-demo",
		transports,
		WebSocket: cut.WebSocket,
		fetch: cut.fetch,
		// A demonstration is watched: it waits for 2 seconds at most.
		backoff: { cap: 2000 },
		token: async () => {
			const [token, lives] = await fetchToken(me, cut.fetch);
			connection.set({
				tokenEnds: performance.now() + lives,
				tokens: connection.value.tokens + 1,
			});
			return token;
		},
	});
	const unfollow = follow(client, connection);
	const feed = new Feed(client, cut, before?.feed);
	const chat = new Chat(client, me, before?.chat);
	const latency = new Latency(client, cut);
	const look = askWhy(client, { feed, chat }, cut.fetch, refusals);
	client.connect();
	return {
		me,
		client,
		cut,
		connection,
		refusals,
		feed,
		chat,
		latency,
		close() {
			look();
			latency.close();
			feed.close();
			chat.close();
			unfollow();
			client.close();
		},
	};
}
