// Frames to Protobuf, one encoding for one frame (P-10.7).

import { RivuletError } from "../errors.js";
import { toText } from "../json.js";
import { type Field, isA, parts, type Table } from "../schema.js";
import type { Frame } from "../types.js";

const utf8 = /* @__PURE__ */ new TextEncoder();

/** A frame of one of `known`; what does not fit is `RivuletError` 4400 with the field. */
export function writeFrame(known: Map<string, Table>, frame: Frame): Uint8Array {
	const out = new Out();
	if (frame.id) write(out, 1, { name: "id", type: "u", mark: "" }, frame.id);
	let number = 1;
	for (const [name, fields] of known) {
		number++;
		if (frame[name]) out.chunk(number, message(fields, frame[name]));
	}
	return out.done();
}

function message(fields: Table, value: any): Uint8Array {
	const out = new Out();
	for (const [i, field] of fields.entries()) {
		const v = value[field.name];
		// Zero is what is absent, but where the schema calls a field optional.
		if (v === undefined || (field.mark === "?" ? v === null && field.type !== "j" : !v)) continue;
		write(out, i + 1, field, v);
	}
	return out.done();
}

function write(out: Out, number: number, { name, type }: Field, v: any): void {
	const part = parts[type];
	if (part) {
		for (const one of v) out.chunk(number, message(part, one));
	} else if (type === "x" ? !(v instanceof Uint8Array) : !isA(type, v)) {
		throw new RivuletError(4400, `${name}: is of the wrong type or out of range`, { field: name });
	} else if (type === "x") {
		out.chunk(number, v);
	} else if (type === "j") {
		out.text(number, toText(v, name));
	} else if (type === "h") {
		for (const key of Object.keys(v).sort()) {
			const entry = new Out();
			entry.text(1, key);
			entry.text(2, v[key]);
			out.chunk(number, entry.done());
		}
	} else if (type === "s" || type === "l") {
		for (const one of [v].flat()) out.text(number, one);
	} else {
		out.varint(number * 8);
		out.varint(Number(v));
	}
}

/** Grows as it is written to. */
class Out {
	private bytes: Uint8Array<ArrayBuffer> = new Uint8Array(128);
	private size = 0;

	done(): Uint8Array<ArrayBuffer> {
		return this.bytes.subarray(0, this.size);
	}

	varint(v: number): void {
		if (v < 0) {
			// In ten bytes: the lowest seven bits, and what is above them with a sign of 64 bits.
			let rest = BigInt.asUintN(64, BigInt(v));
			for (; rest > 127n; rest >>= 7n) this.push(Uint8Array.of(Number(rest & 127n) | 128));
			v = Number(rest);
		}
		const digits = [];
		for (; v > 127; v = Math.floor(v / 128)) digits.push((v % 128) | 128);
		this.push(Uint8Array.of(...digits, v));
	}

	chunk(number: number, bytes: Uint8Array): void {
		this.varint(number * 8 + 2);
		this.varint(bytes.length);
		this.push(bytes);
	}

	text(number: number, s: string): void {
		this.chunk(number, utf8.encode(s));
	}

	private push(bytes: Uint8Array): void {
		const size = this.size + bytes.length;
		if (size > this.bytes.length) {
			const grown = new Uint8Array(size * 2);
			grown.set(this.done());
			this.bytes = grown;
		}
		this.bytes.set(bytes, this.size);
		this.size = size;
	}
}
