// The transports by their names.

import { openWebSocket } from "./transport/websocket.js";
import type { OpenTransport, TransportName } from "./types.js";

/** How each is opened. */
export const opens: Partial<Record<TransportName, OpenTransport>> = {
	websocket: openWebSocket,
};
