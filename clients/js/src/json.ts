// The codec of the subprotocol rivulet.v1.json (PROTOCOL.md, section 2).

import { RivuletError } from "./errors.js";
import { bad, isA, isObject, maxParts, parse } from "./schema.js";
import type { Codec, Frame } from "./types.js";

/** JSON: readable in the browser's network tab, and the least code. */
export const json: Codec = {
	protocol: "rivulet.v1.json",
	encode: ({ publish, ...frame }: Frame): string =>
		toText(publish ? { ...frame, publish: spell(publish) } : frame),
	decode(data: string | ArrayBuffer): Frame {
		const frame = read(parse(data as string, "frame"), "frame", "$");
		if (Object.keys(frame).length > (frame.id === undefined ? 1 : 2)) throw bad("frame");
		return frame;
	},
};

/**
 * The type of each field and, with a $, of each part of a frame. A name has one type wherever it
 * stands: so one list does, and the schema is for those who cannot read a frame without it.
 */
const types = /* @__PURE__ */ new Map(
	"e:$connected:$subscribed:$unsubscribed:$published:$history:$message:$caught_up:$gap:$position:$deleted:$error:$disconnect:$ping:$pong:$acked:$presence:$expiring s:channel:position:reason:client:node:session:group:id:user:conflation_key:ack_token:schedule:token:field:message:next x:data_base64 b:recovered:resumed:durable:duplicate:more:temporary:reconnect:partial u:$id:offset:updates n:time:since:deliver_at:expires_in_ms:in_ms:retry_after_ms:ack_wait_ms i:attempt:clients:users:ping_interval:max_frame c:code l:positions h:headers j:data:info M:messages:members:joined:left:deleted"
		.split(" ")
		.flatMap((line) => {
			const [type = "", ...names] = line.split(":");
			return names.map((name) => [name, type] as const);
		}),
);

/** The object with the known fields alone; `at` is at fault where it is none. */
export function read(value: any, at: string, prefix = ""): any {
	if (!isObject(value)) throw bad(at);
	const out: any = {};
	for (const [name, v] of Object.entries<any>(value)) {
		const type = types.get(prefix + name);
		if (!type || (v === null && type !== "j")) continue;
		const parts = type === "M";
		if (parts ? !Array.isArray(v) || v.length > maxParts : type !== "e" && !isA(type, v)) {
			throw bad(name);
		}
		if (type === "e") out[name] = read(v, name);
		else if (type === "x") out.data_binary = fromBase64(v);
		else if (!parts) out[name] = v;
		else if (v.length > 0 || name === "messages") {
			out[name] = v.map((part: any) => read(part, name));
		}
	}
	return out;
}

/** JSON text of what an application wrote into `field`, or into a command; throws 4400. */
export function toText(value: unknown, field = "data"): string {
	let cause: unknown;
	try {
		const text = JSON.stringify(value);
		// NaN, and a Date that is none, would become null; an ArrayBuffer, a Map or a promise {}.
		const lost =
			text === "null" ? value !== null : text === "{}" && (value as any)[Symbol.toStringTag];
		if (text && !lost) return text;
	} catch (e) {
		cause = e; // a BigInt, or what contains itself
	}
	throw new RivuletError(4400, `${field}: ${String(value).slice(0, 40)} is not a JSON value`, {
		field,
		cause,
	});
}

/** A publish as JSON spells it: bytes are `data_base64`. */
export const spell = ({ data_binary: bytes, ...publish }: any): any =>
	bytes ? { ...publish, data_base64: toBase64(bytes) } : publish;

const toBase64 = (bytes: Uint8Array): string =>
	btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""));

/** The bytes of base64; throws where it is none. */
export const fromBase64 = (text: string): Uint8Array =>
	Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
