// The transports by their names.

import { chunks } from "./lazy.js";
import { openWebSocket } from "./transport/websocket.js";
import type { OpenTransport, TransportName } from "./types.js";

/** How each is had to be opened. Those over HTTP are loaded when they are needed, which is seldom. */
export const opens: Record<TransportName, () => Promise<OpenTransport>> = {
	websocket: async () => openWebSocket,
	sse: async () => (await chunks.sse()).openSse,
	poll: async () => (await chunks.poll()).openPoll,
};
