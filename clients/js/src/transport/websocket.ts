// The transport over a WebSocket: PROTOCOL.md, section 1.

import { RivuletError } from "../errors.js";
import type {
	Frame,
	OpenTransport,
	Transport,
	TransportEvents,
	TransportOptions,
	WebSocketClass,
	WebSocketLike,
} from "../types.js";
import { VERSION } from "../version.js";

/** The id of `connect`; other commands begin after it. */
export const CONNECT_ID = 1;

/** Largest command unless `connected` says another (P-1.4). */
const defaultMaxFrame = 65_536;

/** Opens a WebSocket and sends `connect`. */
export const openWebSocket: OpenTransport = (options, events) => new Socket(options, events);

class Socket implements Transport {
	readonly #codec: TransportOptions["codec"];
	readonly #events: TransportEvents;
	#ws: WebSocketLike | undefined;
	#maxFrame = defaultMaxFrame;

	constructor(options: TransportOptions, events: TransportEvents) {
		this.#codec = options.codec;
		this.#events = events;
		try {
			this.#open(options);
		} catch (e) {
			// As for ws: in a page of https. Not before the caller has what is returned.
			queueMicrotask(() => this.#end(1006, String(e), true));
		}
	}

	#open({ base, codec, resume, token, name, session, ...o }: TransportOptions): void {
		const url = `${base.replace("http", "ws")}/v1/ws${resume ? "?resume=1" : ""}`;
		const Class = o.WebSocket ?? (WebSocket as WebSocketClass);
		const ws = new Class(url, [codec.protocol]);
		this.#ws = ws;
		ws.binaryType = "arraybuffer";
		let opened = false;
		ws.onopen = () => {
			opened = true;
			if (ws.protocol !== codec.protocol) return this.#end(1006, "wrong subprotocol", true);
			this.send({ id: CONNECT_ID, connect: { token, name, version: VERSION, session } });
		};
		ws.onmessage = ({ data }) => this.#receive(data);
		ws.onclose = ({ code, reason }) => this.#end(code || 1006, reason || "", !opened);
		ws.onerror = () => {}; // onclose follows and says as much
	}

	get buffered(): number {
		return this.#ws?.bufferedAmount ?? 0;
	}

	send(frame: Frame): void {
		const data = this.#codec.encode(frame);
		const size = (typeof data === "string" ? new TextEncoder().encode(data) : data).length;
		if (size > this.#maxFrame) {
			throw new RivuletError(4413, `${size} bytes, at most ${this.#maxFrame}`, { field: "data" });
		}
		if (this.#ws?.readyState === 1) this.#ws.send(data); // else onclose follows
	}

	close(code = 1000, reason = ""): void {
		const ws = this.#ws;
		this.#ws = undefined;
		if (!ws) return;
		ws.onopen = ws.onmessage = ws.onclose = null;
		ws.close(code, reason);
	}

	#receive(data: any): void {
		try {
			const frame = this.#codec.decode(data);
			this.#maxFrame = frame.connected?.max_frame || this.#maxFrame;
			this.#events.event(frame);
		} catch (e) {
			this.#end(4200, String(e), false, true); // also where a part is missing
		}
	}

	#end(code: number, reason: string, blocked: boolean, garbled?: boolean): void {
		this.close();
		this.#events.end({ code, reason, blocked, ...(garbled && { garbled }) });
	}
}
