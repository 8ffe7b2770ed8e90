// Protobuf to frames: strict as section 10 of PROTOCOL.md, and bounded by the frame's size.

import { bad, type Field, isA, maxParts, parse, parts, type Table, zero } from "../schema.js";
import type { Frame } from "../types.js";

/** Of wire type 0 and 2; undefined stands for the types that no field of ours has. */
type Value = number | Uint8Array | undefined;

const utf8 = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A frame that holds one of `known` at most (P-10.2). */
export function readFrame(known: Map<string, Table>, bytes: Uint8Array): Frame {
	const names = [...known.keys()];
	const frame: Frame = {};
	let found = false;
	scan(bytes, "frame", (number, value) => {
		if (number === 1) frame.id = num({ name: "id", type: "u" }, value);
		const name = names[number - 2];
		if (!name) return;
		if (found) throw bad("frame");
		found = true;
		frame[name] = read(known.get(name) as Table, chunk(name, value), name);
	});
	return frame;
}

function read(fields: Table, bytes: Uint8Array, at: string): any {
	const out: any = {};
	for (const { name, type, mark } of fields) if (mark === "!") out[name] = zero(type);
	scan(bytes, at, (number, value) => {
		const field = fields[number - 1];
		if (field) out[field.name] = next(field, value, out[field.name]);
	});
	return out;
}

/** The field's value, where `before` is what it had. */
function next(field: Field, value: Value, before: any): any {
	const { name, type } = field;
	if (/[binuc]/.test(type)) return num(field, value);
	const bytes = chunk(name, value);
	const part = parts[type];
	if (part || type === "l") {
		const list = before ?? [];
		const length = list.push(part ? read(part, bytes, name) : text(bytes, name));
		if (part && length > maxParts) throw bad(name);
		return list;
	}
	switch (type) {
		case "x":
			return bytes.slice();
		case "h":
			return header(bytes, name, before ?? {});
		case "j":
			return json(text(bytes, name), name);
	}
	return text(bytes, name);
}

function num({ name, type }: Pick<Field, "name" | "type">, value: Value): any {
	if (typeof value !== "number") throw bad(name);
	if (type === "b") return value !== 0;
	if (!isA(type, value)) throw bad(name);
	return value;
}

function chunk(name: string, value: Value): Uint8Array {
	if (!(value instanceof Uint8Array)) throw bad(name);
	return value;
}

function text(bytes: Uint8Array, name: string): string {
	try {
		return utf8.decode(bytes);
	} catch {
		throw bad(name);
	}
}

function json(source: string, name: string): unknown {
	const value = parse(source, name);
	if (!isA("j", value)) throw bad(name);
	return value;
}

/** Adds an entry; the last of a name counts, and `__proto__` is a name like any other. */
function header(bytes: Uint8Array, name: string, to: object): object {
	const entry = read(entryFields, bytes, name);
	return Object.defineProperty(to, entry.key, {
		value: entry.value,
		enumerable: true,
		configurable: true,
		writable: true,
	});
}

const entryFields: Table = [
	{ name: "key", type: "s", mark: "!" },
	{ name: "value", type: "s", mark: "!" },
];

/** Calls `field` for every field of a message. Groups are refused, so nothing nests without bound. */
function scan(b: Uint8Array, at: string, field: (number: number, value: Value) => void): void {
	let i = 0;
	// Of 64 bits with a sign; what a double cannot hold is out of every field's range.
	const varint = () => {
		const parts = [0, 0, 0]; // of 28, 28 and 8 bits
		for (let n = 0; ; n++) {
			const byte = b[i++];
			if (byte === undefined || (n === 9 && byte > 1)) throw bad(at);
			parts[n >> 2] = (parts[n >> 2] as number) + (byte & 127) * 2 ** (7 * (n & 3));
			if (byte > 127) continue;
			const [low, middle, high] = parts as [number, number, number];
			return (high - (high & 128) * 2) * 2 ** 56 + middle * 2 ** 28 + low;
		}
	};
	while (i < b.length) {
		const key = varint();
		const number = Math.floor(key / 8);
		const type = key & 7;
		if (number < 1 || number >= 2 ** 29) throw bad(at);
		if (type === 0) {
			field(number, varint());
			continue;
		}
		const size = type === 2 ? varint() : { 1: 8, 5: 4 }[type];
		if (size === undefined || size < 0 || size > b.length - i) throw bad(at);
		i += size;
		field(number, type === 2 ? b.subarray(i - size, i) : undefined);
	}
}
