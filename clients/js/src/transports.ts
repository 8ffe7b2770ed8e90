// The transports by their names.

import { chunks } from "./lazy.js";
import { openWebSocket } from "./transport/websocket.js";
import type { OpenTransport, Transport, TransportName } from "./types.js";

/** How each is opened. Those over HTTP are loaded when they are needed, which is seldom. */
export const opens: Record<TransportName, OpenTransport> = {
	websocket: openWebSocket,
	sse: later(async () => (await chunks.sse()).openSse),
	poll: later(async () => (await chunks.poll()).openPoll),
};

/** Opens what `load` brings. Nothing is sent before `connected`. */
function later(load: () => Promise<OpenTransport>): OpenTransport {
	return (options, events) => {
		let transport: Transport | undefined;
		let closed = false;
		load().then(
			(open) => {
				if (!closed) transport = open(options, events);
			},
			(e) => {
				if (!closed) events.end({ code: 1006, reason: `not loaded: ${e}` });
			},
		);
		return {
			send: (frame) => transport?.send(frame),
			get buffered() {
				return transport?.buffered ?? 0;
			},
			close() {
				closed = true;
				transport?.close();
			},
		};
	};
}
