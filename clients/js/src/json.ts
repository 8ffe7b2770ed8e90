// The codec of the subprotocol rivulet.v1.json (PROTOCOL.md, section 2).

import { RivuletError } from "./errors.js";
import { bad, events, isA, isObject, maxParts, parse, parts, type Table, zero } from "./schema.js";
import type { Codec, Frame } from "./types.js";

/** JSON: readable in the browser's network tab, and the least code. */
export const json: Codec = {
	protocol: "rivulet.v1.json",
	encode: (frame: Frame): string =>
		toText(frame.publish ? { ...frame, publish: spell(frame.publish) } : frame),
	decode(data: string | ArrayBuffer): Frame {
		if (typeof data !== "string") throw bad("frame");
		return checkFrame(events, parse(data, "frame"));
	},
};

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

/** The frame with nothing in it but what `known` has; throws what is not of this protocol. */
export function checkFrame(known: Map<string, Table>, value: any): Frame {
	if (!isObject(value)) throw bad("frame");
	const frame: Frame = {};
	if (value.id != null) frame.id = checkValue("u", value.id, "id");
	let found = false;
	for (const name of Object.keys(value)) {
		const fields = known.get(name);
		if (!fields || value[name] === null) continue;
		if (found) throw bad("frame");
		found = true;
		frame[name] = check(fields, value[name], name);
	}
	return frame;
}

/** The object with the table's fields alone. */
export function check(fields: Table, value: any, at: string): any {
	if (!isObject(value)) throw bad(at);
	const out: any = {};
	for (const { name, type, mark } of fields) {
		const field = type === "x" ? "data_base64" : name;
		const v = value[field];
		if (v === undefined || (v === null && type !== "j")) {
			if (mark === "!") out[name] = zero(type);
		} else {
			out[name] = checkValue(type, v, field);
		}
	}
	return out;
}

function checkValue(type: string, v: any, field: string): any {
	const fields = parts[type];
	if (fields) {
		if (!Array.isArray(v) || v.length > maxParts) throw bad(field);
		return v.map((part) => {
			if (!isObject(part)) throw bad(field);
			return check(fields, part, field);
		});
	}
	if (!isA(type, v)) throw bad(field);
	return type === "x" ? fromBase64(v) : v;
}

function toBase64(bytes: Uint8Array): string {
	let text = "";
	for (const b of bytes) text += String.fromCharCode(b);
	return btoa(text);
}

const fromBase64 = (text: string): Uint8Array =>
	Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
