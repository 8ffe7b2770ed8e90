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

export interface Live {
	readonly me: Identity;
	readonly client: Client;
	readonly cut: Cut;
	readonly connection: Store<Connection>;
	readonly feed: Feed;
	readonly chat: Chat;
	readonly latency: Latency;
	close(): void;
}

const logLines = 6;
const pingEvery = 4000;

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
	let lines = 0;
	const off = client.on("state", (c: StateChange) => {
		const old = connection.value;
		const line = { id: ++lines, at: Date.now(), state: c.state, text: describe(c) };
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

export function createLive(me: Identity, transports: readonly TransportName[]): Live {
	const cut = new Cut();
	const connection = new Store<Connection>({
		state: "initialized",
		connects: 0,
		tokens: 0,
		log: [],
	});
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
	const feed = new Feed(client, cut);
	const chat = new Chat(client, me);
	const latency = new Latency(client, cut);
	client.connect();
	return {
		me,
		client,
		cut,
		connection,
		feed,
		chat,
		latency,
		close() {
			latency.close();
			feed.close();
			chat.close();
			unfollow();
			client.close();
		},
	};
}
