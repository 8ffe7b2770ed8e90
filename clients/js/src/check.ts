// Reads what is JSON by the tables of the schema, which fill in what is absent: for answers over
// HTTP, and where both codecs are held against each other.

import { fromBase64 } from "./json.js";
import { bad, isA, isObject, maxParts, parts, type Table, zero } from "./schema.js";
import type { Frame } from "./types.js";

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
