// The same small program in every runtime: everything that an application does once, over a network
// that is cut meanwhile. What it has seen is what it returns.

import type * as sdk from "../../src/index.js";

/** What it is told. */
export interface Order {
	/** Of the node, through a network that can be cut, and may not know WebSockets. */
	url: string;
	/** Cuts it, and before it is whole again publishes what comes after the first ten messages. */
	cut: string;
	/** Where nobody listens. */
	nowhere: string;
	channel: string;
	/** No more than it ends with, however the network is cut. */
	transports: sdk.TransportName[];
}

/** What it has seen. */
export interface Seen {
	data: number[];
	offsets: number[];
	gaps: number;
	/** The transports that it was connected over, one after the other. */
	transports: string[];
	newest: number[];
	clients: number;
	/** After `close`, of both clients. */
	states: string[];
	/** Errors of callbacks: none. */
	errors: string[];
}

/** `options` are what a runtime needs beside. */
export async function program(
	{ Client }: typeof sdk,
	{ url, cut, nowhere, channel: name, transports }: Order,
	options: sdk.ClientOptions = {},
): Promise<Seen> {
	const seen: Seen = {
		data: [],
		offsets: [],
		gaps: 0,
		transports: [],
		newest: [],
		clients: 0,
		states: [],
		errors: [],
	};
	const client = new Client(url, {
		...options,
		transports,
		backoff: { base: 20, cap: 200 },
		onError: (e) => seen.errors.push(`${e}`),
	});
	client.on("state", (c) => c.transport && seen.transports.push(c.transport));
	client.on("gap", () => seen.gaps++);
	const channel = client.channel<number>(name);
	const subscription = channel.subscribe({ presence: true });
	await subscription.ready;

	const publish = (from: number) =>
		Promise.all([...Array(10).keys()].map((n) => channel.publish(from + n)));
	await publish(0);
	const whole = fetch(cut).then((r) => r.text());
	const reading = (async () => {
		for await (const { data, offset } of subscription) {
			seen.data.push(data);
			seen.offsets.push(offset);
			if (data === 29) return;
		}
	})();
	await whole;
	await publish(20);
	await reading;

	const page = await channel.history({ limit: 3, order: "desc" });
	seen.newest = page.messages.map((m) => m.data);
	do seen.clients = (await channel.presence()).clients;
	while (seen.clients !== 1); // the connection that was cut may be there for a moment

	// One that waits for its next attempt leaves nothing behind either.
	const lost = new Client(nowhere, options);
	const retrying = new Promise<void>((resolve) =>
		lost.on("state", ({ state }) => state === "retrying" && resolve()),
	);
	lost.connect();
	await retrying;
	for (const c of [client, lost]) {
		c.close();
		seen.states.push(c.state);
	}
	return seen;
}
