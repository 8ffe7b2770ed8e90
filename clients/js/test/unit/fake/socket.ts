// WebSockets whose other end is the test.

import type { Frame, WebSocketClass, WebSocketLike } from "../../../src/types.js";
import type { FakeClock } from "./clock.js";

/** One connection, seen from the node. */
export class FakeSocket implements WebSocketLike {
	binaryType = "";
	readyState = 0;
	bufferedAmount = 0;
	protocol = "";
	onopen: ((event: any) => void) | null = null;
	onmessage: ((event: { data: any }) => void) | null = null;
	onclose: ((event: { code: number; reason: string }) => void) | null = null;
	onerror: ((event: any) => void) | null = null;
	/** What the client has sent and the test has not taken. */
	readonly sent: Frame[] = [];
	/** Called with each command in place of keeping it. */
	onCommand: ((frame: Frame) => void) | undefined;
	/** How the client has closed it. */
	closedWith: number | undefined;
	/** Called when the client has closed it. */
	onClosed: (() => void) | undefined;

	constructor(
		readonly url: string,
		readonly offered: string[],
	) {}

	open(protocol: string = this.offered[0] ?? ""): void {
		this.readyState = 1;
		this.protocol = protocol;
		this.onopen?.({});
	}

	/** Opens it and answers `connect`. */
	greet(connected: object = {}): void {
		this.open();
		const connect = this.take("connect");
		this.push({
			id: connect.id as number,
			connected: { client: "c1", node: "n1", ping_interval: 25, ...connected },
		});
	}

	push(frame: Frame): void {
		this.onmessage?.({ data: JSON.stringify(frame) });
	}

	pushText(data: unknown): void {
		this.onmessage?.({ data });
	}

	/** Ends it as the node or the network does. */
	drop(code = 1006, reason = ""): void {
		if (this.readyState === 3) return;
		this.readyState = 3;
		if (code === 1006) this.onerror?.({});
		this.onclose?.({ code, reason });
	}

	/** The first command of the kind, which is then gone. */
	take(kind: string): Frame {
		const at = this.sent.findIndex((frame) => kind in frame);
		if (at < 0) throw new Error(`no ${kind} in ${JSON.stringify(this.sent)}`);
		return this.sent.splice(at, 1)[0] as Frame;
	}

	has(kind: string): boolean {
		return this.sent.some((frame) => kind in frame);
	}

	/** Answers the first command of the kind. */
	answer(kind: string, event: object): Frame {
		const command = this.take(kind);
		this.push({ id: command.id as number, ...event });
		return command;
	}

	send(data: string): void {
		if (this.readyState !== 1) throw new Error("not open");
		const frame = JSON.parse(data);
		if (this.onCommand) this.onCommand(frame);
		else this.sent.push(frame);
	}

	close(code = 1005): void {
		this.closedWith ??= code;
		this.readyState = 3;
		this.onClosed?.();
	}
}

/** A WebSocket class, and the sockets that were made of it. */
export class Network {
	readonly sockets: FakeSocket[] = [];
	/** Called with each new one. */
	onSocket: ((socket: FakeSocket) => void) | undefined;

	readonly WebSocket: WebSocketClass;

	constructor() {
		const network = this;
		this.WebSocket = class extends FakeSocket {
			constructor(url: string, protocols: string[] = []) {
				super(url, protocols);
				network.sockets.push(this);
				network.onSocket?.(this);
			}
		};
	}

	#taken = 0;

	/** The next that the client opens, which may take it a while. */
	async next(clock: FakeClock): Promise<FakeSocket> {
		for (let waited = 0; waited < 60_000; waited += 25) {
			const socket = this.sockets[this.#taken];
			if (socket) {
				this.#taken++;
				return socket;
			}
			await clock.pass(25);
		}
		throw new Error("the client does not open another socket");
	}

	/** The newest. */
	get socket(): FakeSocket {
		const last = this.sockets.at(-1);
		if (!last) throw new Error("no socket was opened");
		return last;
	}
}
