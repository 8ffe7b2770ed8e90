// Servers that are no Rivulet node, or one in trouble.

import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { type WebSocket, WebSocketServer } from "ws";

/** What a bad server does. */
export interface BadServer {
	/** host:port. */
	address: string;
	/** How many requests and handshakes came, and when, in ms. */
	asked: number[];
	close(): Promise<void>;
}

/**
 * Answers requests by `http`, and WebSocket handshakes by `socket`, which gets the open socket;
 * without it handshakes are requests like others.
 */
export async function badServer(
	http: RequestListener,
	socket?: (ws: WebSocket) => void,
	subprotocol: string | false = "rivulet.v1.json",
): Promise<BadServer> {
	const asked: number[] = [];
	const server: Server = createServer((request, response) => {
		asked.push(performance.now());
		http(request, response);
	});
	if (socket) {
		const sockets = new WebSocketServer({ server, handleProtocols: () => subprotocol });
		sockets.on("connection", (ws) => {
			asked.push(performance.now());
			ws.on("error", () => {});
			socket(ws);
		});
	}
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	const a = server.address();
	if (a === null || typeof a === "string") throw new Error("not listening");
	return {
		address: `127.0.0.1:${a.port}`,
		asked,
		close: async () => {
			server.closeAllConnections();
			server.close();
			await once(server, "close");
		},
	};
}

/** Answers as a node does that refuses: JSON with a code. */
export function refuses(status: number, headers: Record<string, string> = {}): RequestListener {
	return (_, response) => {
		response.writeHead(status, { "Content-Type": "application/json", ...headers });
		response.end(
			JSON.stringify({ code: 4000 + status, message: `refused with ${status}`, data: null }),
		);
	};
}

/** Answers everything with a page to sign in to the Wi-Fi. */
export const captivePortal: RequestListener = (_, response) => {
	response.writeHead(200, { "Content-Type": "text/html" });
	response.end("<!doctype html><title>Welcome to the hotel</title><p>Please sign in.");
};
