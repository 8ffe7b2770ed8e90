// The codec of the subprotocol rivulet.v1.json (PROTOCOL.md, section 2).

import { RivuletError } from "./errors.js";
import { bad, isA, isObject, maxParts, parse } from "./schema.js";
import type { Codec, Frame } from "./types.js";

/** JSON: readable in the browser's network tab, and the least code. */
export const json: Codec = {
	protocol: "rivulet.v1.json",
	encode: (frame: Frame): string =>
		toText(frame.publish ? { ...frame, publish: spell(frame.publish) } : frame),
	decode(data: string | ArrayBuffer): Frame {
		if (typeof data !== "string") throw bad("frame");
		const { id, ...rest } = object(parse(data, "frame"), "frame");
		const frame: Frame = {};
		if (id != null) frame.id = isA("u", id) ? id : refuse("id");
		const names = Object.keys(rest).filter((name) => events.has(name) && rest[name] !== null);
		if (names.length > 1) throw bad("frame");
		for (const name of names) frame[name] = read(rest[name], name);
		return frame;
	},
};

// A name has one type, wherever it stands: so one list does, and the tables of the schema are
// only for those who cannot read a frame without them.
const words = (text: string): string[] => text.split(" ");

const events = /* @__PURE__ */ new Set(
	/* @__PURE__ */ words(
		"connected subscribed unsubscribed published history message caught_up gap position deleted error disconnect ping pong acked presence expiring",
	),
);

/** The type of each field, as in the schema. */
const types = /* @__PURE__ */ new Map(
	/* @__PURE__ */ words(
		"s:channel:position:reason:client:node:session:group:id:user:conflation_key:ack_token:schedule:token:field:message:next b:recovered:resumed:durable:duplicate:more:temporary:reconnect:partial u:offset:updates n:time:since:deliver_at:expires_in_ms:in_ms:retry_after_ms:ack_wait_ms i:attempt:clients:users:ping_interval:max_frame c:code l:positions h:headers j:data:info x:data_base64 M:messages:members:joined:left:deleted",
	).flatMap((line) => {
		const [type = "", ...names] = line.split(":");
		return names.map((name) => [name, type] as const);
	}),
);

/** The object with the known fields alone; `at` is at fault where it is none. */
export function read(value: any, at: string): any {
	const out: any = {};
	for (const [name, v] of Object.entries<any>(object(value, at))) {
		const type = types.get(name);
		if (!type || (v === null && type !== "j")) continue;
		if (type === "M") {
			if (!Array.isArray(v) || v.length > maxParts) throw bad(name);
			if (v.length > 0 || name === "messages") out[name] = v.map((part) => read(part, name));
		} else if (!isA(type, v)) {
			throw bad(name);
		} else if (type === "x") {
			out.data_binary = fromBase64(v);
		} else {
			out[name] = v;
		}
	}
	return out;
}

function object(v: any, at: string): any {
	return isObject(v) ? v : refuse(at);
}

function refuse(field: string): never {
	throw bad(field);
}

/** JSON text of what an application wrote into `field`, or into a command. */
export function toText(value: unknown, field = "data"): string {
	try {
		const text = JSON.stringify(value);
		if (text !== undefined) return text;
	} catch (cause) {
		throw new RivuletError(4400, `${field}: is not a JSON value`, { field, cause });
	}
	throw new RivuletError(4400, `${field}: is missing`, { field });
}

/** A publish as JSON spells it: bytes are `data_base64`. */
export const spell = (publish: any): any =>
	publish?.data_binary
		? Object.fromEntries(
				Object.entries(publish).map(([name, v]) =>
					name === "data_binary" ? ["data_base64", toBase64(v as Uint8Array)] : [name, v],
				),
			)
		: publish;

function toBase64(bytes: Uint8Array): string {
	let text = "";
	for (const b of bytes) text += String.fromCharCode(b);
	return btoa(text);
}

/** Bytes of text that was checked. */
export const fromBase64 = (text: string): Uint8Array =>
	Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
