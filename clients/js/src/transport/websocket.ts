// The transport over a WebSocket: PROTOCOL.md, section 1.

import { RivuletError } from "../errors.js";
import type { Frame, OpenTransport, WebSocketClass, WebSocketLike } from "../types.js";
import { VERSION } from "../version.js";

/** The id of `connect`; other commands begin after it. */
export const CONNECT_ID = 1;

/** Opens a WebSocket and sends `connect`. */
export const openWebSocket: OpenTransport = (options, events) => {
	const { base, codec, resume, token, name, session } = options;
	let ws: WebSocketLike | undefined;
	let maxFrame = 65_536; // unless `connected` says another (P-1.4)

	const close = (code = 1000, reason = ""): void => {
		if (!ws) return;
		ws.onopen = ws.onmessage = ws.onclose = ws.onerror = () => {};
		ws.close(code, reason);
		ws = undefined;
	};
	const end = (code: number, reason: string, blocked: boolean, garbled?: true): void => {
		close();
		events.end({ code, reason, blocked, ...(garbled && { garbled }) });
	};
	const send = (frame: Frame): void => {
		const data = codec.encode(frame);
		const size = (typeof data === "string" ? new TextEncoder().encode(data) : data).length;
		if (size > maxFrame) {
			throw new RivuletError(4413, `${size} bytes, at most ${maxFrame}`, { field: "data" });
		}
		if (ws?.readyState === 1) ws.send(data); // else its end is about to be told
	};
	const receive = (data: any): void => {
		try {
			const frame = codec.decode(data);
			maxFrame = frame.connected?.max_frame || maxFrame;
			events.event(frame);
		} catch (e) {
			end(4200, String(e), false, true); // also where a part is missing
		}
	};
	const open = (): void => {
		const Class = options.WebSocket ?? (WebSocket as WebSocketClass);
		const url = `${base.replace("http", "ws")}/v1/ws${resume ? "?resume=1" : ""}`;
		const socket = new Class(url, [codec.protocol]);
		let opened = false;
		ws = socket;
		ws.binaryType = "arraybuffer";
		ws.onopen = () => {
			opened = true;
			if (socket.protocol !== codec.protocol) return end(1006, "wrong subprotocol", true);
			send({ id: CONNECT_ID, connect: { token, name, version: VERSION, session } });
		};
		ws.onmessage = ({ data }) => receive(data);
		ws.onclose = ({ code, reason }) => end(code || 1006, reason, !opened);
		// onclose follows and says as much, but in Node 22, where it could not be opened.
		ws.onerror = () => opened || end(1006, "", true);
	};

	try {
		open();
	} catch (e) {
		// As for ws: in a page of https. Not before the caller has what is returned.
		queueMicrotask(() => end(1006, String(e), true));
	}
	return {
		send,
		close,
		get buffered() {
			return ws?.bufferedAmount ?? 0;
		},
	};
};
