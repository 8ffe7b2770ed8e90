// The transport over a WebSocket: PROTOCOL.md, section 1.

import { RivuletError } from "../errors.js";
import type { Frame, OpenTransport, WebSocketClass } from "../types.js";
import { VERSION } from "../version.js";

/** The id of `connect`; other commands begin after it. */
export const CONNECT_ID = 1;

/** Opens a WebSocket and sends `connect`. Throws what its class does. */
export const open: OpenTransport = (options, events) => {
	const { base, codec, resume, token, name, session } = options;
	const Class = options.WebSocket ?? (WebSocket as WebSocketClass);
	const url = `${base.replace("http", "ws")}/v1/ws${resume ? "?resume=1" : ""}`;
	const ws = new Class(url, [codec.protocol]);
	let maxFrame = 65_536; // unless `connected` says another (P-1.4)
	let opened = false;

	const send = (frame: Frame): void => {
		const data = codec.encode(frame);
		const size = (typeof data === "string" ? new TextEncoder().encode(data) : data).length;
		if (size > maxFrame) {
			throw new RivuletError(4413, `${size} bytes, at most ${maxFrame}`, { field: "data" });
		}
		if (ws.readyState === 1) ws.send(data); // else its end is about to be told
	};
	ws.binaryType = "arraybuffer";
	ws.onopen = () => {
		opened = true;
		if (ws.protocol !== codec.protocol)
			return events.end({ code: 1006, reason: "wrong subprotocol", blocked: true });
		try {
			send({ id: CONNECT_ID, connect: { token, name, version: VERSION, session } });
		} catch (e: any) {
			events.end({ code: e.code ?? 4400, reason: e.message }); // as of a token that is too large
		}
	};
	ws.onmessage = ({ data }: any) => {
		try {
			const frame = codec.decode(data);
			maxFrame = frame.connected?.max_frame || maxFrame;
			events.event(frame);
		} catch (e) {
			events.end({ code: 4200, reason: String(e), garbled: true }); // also where a part is missing
		}
	};
	ws.onclose = ({ code, reason }) => events.end({ code: code || 1006, reason, blocked: !opened });
	// onclose follows, but in Node 22, where it could not be opened; and ws says why.
	ws.onerror = ({ message }) =>
		opened || events.end({ code: 1006, reason: message, blocked: true });
	return {
		send,
		close: () => ws.close(1000),
		get buffered() {
			return ws.bufferedAmount;
		},
	};
};
