// A network that can be broken: a TCP proxy between clients and a node.

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { Transform } from "node:stream";

/** How it treats what passes. */
export type Mode =
	| "pass"
	/** New connections are reset. */
	| "refuse"
	/** Nothing passes and nothing breaks: a dead mobile network. */
	| "swallow"
	/** WebSocket handshakes are answered like by a proxy that does not know them. */
	| "no-websocket";

/** `new Proxy(…)` of the tests: listens on a port of its own choosing. */
export class Network {
	private readonly pairs = new Set<{ client: Socket; server: Socket }>();
	private mode: Mode = "pass";
	/** How many connections were broken. */
	broken = 0;
	/** How many handshakes of WebSockets were turned away. */
	turnedAway = 0;
	private constructor(
		private readonly server: Server,
		private target: string,
	) {}

	/** `target` is host:port of the node. */
	static async open(target: string): Promise<Network> {
		const server = createServer({ noDelay: true });
		const network = new Network(server, target);
		server.on("connection", (socket) => network.accept(socket));
		server.listen(0, "127.0.0.1");
		await once(server, "listening");
		return network;
	}

	get address(): string {
		const a = this.server.address();
		if (a === null || typeof a === "string") throw new Error("not listening");
		return `127.0.0.1:${a.port}`;
	}

	get url(): string {
		return `http://${this.address}`;
	}

	/** Connections from now on go to another node. */
	lead(target: string): void {
		this.target = target;
	}

	/** From now on; `swallow` holds for open connections as well. */
	set(mode: Mode): void {
		this.mode = mode;
		for (const { client, server } of this.pairs) {
			for (const socket of [client, server]) {
				if (mode === "swallow") socket.pause();
				else socket.resume();
			}
		}
	}

	/** Breaks every open connection, with a reset. */
	cut(): number {
		const cut = this.pairs.size;
		for (const { client, server } of this.pairs) {
			client.resetAndDestroy();
			server.destroy();
		}
		this.broken += cut;
		return cut;
	}

	async close(): Promise<void> {
		this.cut();
		this.server.close();
		await once(this.server, "close");
	}

	private accept(client: Socket): void {
		client.on("error", () => {});
		if (this.mode === "refuse") {
			client.resetAndDestroy();
			return;
		}
		this.join(client);
	}

	/** Hands on all but handshakes of WebSockets, on connections that had other requests too. */
	private turnsAway(client: Socket, server: Socket): Transform {
		return new Transform({
			transform: (part: Buffer, _, next) => {
				if (!/^upgrade:\s*websocket/im.test(part.toString("latin1"))) return next(null, part);
				this.turnedAway++;
				server.unpipe(client);
				client.end(
					"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
				);
			},
		});
	}

	private join(client: Socket): void {
		const [host, port] = this.target.split(":");
		const server = connect({ host: host ?? "", port: Number(port), noDelay: true });
		const pair = { client, server };
		this.pairs.add(pair);
		server.on("error", () => {});
		const over = () => {
			client.destroy();
			server.destroy();
			this.pairs.delete(pair);
		};
		client.on("close", over);
		server.on("close", over);
		const onward =
			this.mode === "no-websocket" ? client.pipe(this.turnsAway(client, server)) : client;
		onward.pipe(server);
		server.pipe(client);
		if (this.mode === "swallow") {
			client.pause();
			server.pause();
		}
	}
}
