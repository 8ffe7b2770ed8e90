// A client on a fake clock and a fake network.

import { Client } from "../../../src/index.js";
import { load } from "../../../src/lazy.js";
import type { ClientOptions, StateChange } from "../../../src/types.js";
import { FakeClock } from "./clock.js";
import { Network } from "./socket.js";

// What is loaded later is here: a test of its own is about when it is not.
await Promise.all([load(), import("../../../src/choice.js")]);

export interface Setup {
	client: Client;
	clock: FakeClock;
	network: Network;
	states: StateChange[];
	errors: unknown[];
}

/** Random is 1/2 unless given, and only the WebSocket is used. */
export function setup(options: ClientOptions = {}): Setup {
	const clock = new FakeClock();
	const network = new Network();
	const states: StateChange[] = [];
	const errors: unknown[] = [];
	const client = new Client("http://node.test", {
		clock,
		WebSocket: network.WebSocket,
		transports: ["websocket"],
		random: () => 0.5,
		lifecycle: false,
		onError: (e) => errors.push(e),
		...options,
	});
	client.on("state", (change) => states.push(change));
	return { client, clock, network, states, errors };
}

/** The same, connected. */
export async function connected(options: ClientOptions = {}, hello: object = {}): Promise<Setup> {
	const all = setup(options);
	all.client.connect();
	await all.clock.pass(0);
	all.network.socket.greet(hello);
	await all.clock.pass(0);
	return all;
}
