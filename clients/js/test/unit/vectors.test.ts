// Both codecs against the golden vectors of the protocol (PROTOCOL.md, section 11). A client
// encodes commands and decodes events; the other direction is checked with the same tables.

import { describe, expect, test } from "vitest";
import { checkFrame } from "../../src/check.js";
import { RivuletError } from "../../src/errors.js";
import { json, spell } from "../../src/json.js";
import { commands } from "../../src/protobuf/commands.js";
import { protobuf } from "../../src/protobuf/index.js";
import { readFrame } from "../../src/protobuf/reader.js";
import { writeFrame } from "../../src/protobuf/writer.js";
import { events, parse } from "../../src/schema.js";
import type { Frame } from "../../src/types.js";
import { type DataVector, fromHex, toHex, type Vector, vectors } from "./vectors.js";

const tables = { command: commands, event: events };

/** Bytes as a client has them, in place of base64, and no info or data but what is there. */
function meant(value: any): any {
	if (Array.isArray(value)) return value.map(meant);
	if (typeof value !== "object" || value === null) return value;
	const out: any = {};
	for (const [name, v] of Object.entries(value)) {
		if (name === "data_base64")
			out.data_binary = Uint8Array.from(Buffer.from(v as string, "base64"));
		else if (name === "data" || name === "info") out[name] = v;
		else out[name] = meant(v);
	}
	return out;
}

/** Without what is zero, so that what a codec fills in is not held against it (P-11.1). */
function bare(value: any): any {
	if (Array.isArray(value)) return value.map(bare);
	if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
	const out: any = {};
	for (const [name, v] of Object.entries(value)) {
		if (name === "data" || name === "info" || name === "expected_offset") out[name] = v;
		else if (v && !(Array.isArray(v) && v.length === 0)) out[name] = bare(v);
	}
	return out;
}

const texts = (v: Vector[]) => v.filter((x) => x.json !== undefined);
const binaries = (v: Vector[]) => v.filter((x) => x.protobuf !== undefined);

// Numbers and escapes that JSON.stringify spells in its own way are not byte for byte the same, nor
// is what has bytes, which come last.
function respelt(all: Vector[]): Vector[] {
	const list = all.filter(
		(v) =>
			v.json &&
			!v.decode_only &&
			(JSON.stringify(JSON.parse(v.json)) !== v.json || v.json.includes('"data_base64"')),
	);
	expect(list.length).toBeLessThan(7);
	return list;
}

function encodable(all: Vector[]): Vector[] {
	const other = respelt(all);
	return all.filter((v) => !v.decode_only && !other.includes(v));
}

describe.each(["command", "event"] as const)("%s vectors", (direction) => {
	const all = vectors(`${direction}s`);
	const table = tables[direction];

	test.each(texts(all))("json decodes: $name ($clause)", (v) => {
		const frame =
			direction === "event"
				? json.decode(v.json as string)
				: checkFrame(table, parse(v.json as string, "frame"));
		expect(bare(frame)).toEqual(bare(meant(v.value)));
	});

	test.each(binaries(all))("protobuf decodes: $name ($clause)", (v) => {
		const bytes = fromHex(v.protobuf as string);
		const frame =
			direction === "event" ? protobuf.decode(bytes) : readFrame(table, new Uint8Array(bytes));
		expect(bare(frame)).toEqual(bare(meant(v.value)));
	});

	test.each(encodable(binaries(all)))("protobuf encodes: $name ($clause)", (v) => {
		const frame = meant(v.value);
		const bytes = direction === "command" ? protobuf.encode(frame) : writeFrame(table, frame);
		expect(toHex(bytes as Uint8Array)).toBe(v.protobuf);
	});
});

test.each(encodable(texts(vectors("commands"))))("json encodes: $name ($clause)", (v) => {
	expect(json.encode(meant(v.value))).toBe(v.json);
});

test.each(respelt(vectors("commands")))("is written with the same meaning: $name", (v) => {
	const frame = meant(v.value);
	expect(parse(json.encode(frame) as string, "frame")).toEqual(parse(v.json as string, "frame"));
	expect(readFrame(commands, protobuf.encode(frame) as Uint8Array)).toEqual(frame);
});

describe("invalid events", () => {
	const all = vectors("invalid").filter((v) => v.direction === "event");
	// JSON.parse does not tell 1.0 from 1, and the number is whole.
	const untold = ["event: clients with a fraction"];

	test.each(all)("are refused: $name ($clause)", (v) => {
		const decode = () => {
			if (v.protobuf !== undefined) return protobuf.decode(fromHex(v.protobuf));
			return json.decode(v.json ?? new TextDecoder().decode(fromHex(v.hex as string)));
		};
		if (untold.includes(v.name)) {
			expect(decode()).toMatchObject({ presence: { clients: 1 } });
			return;
		}
		const refused = caught(decode);
		expect(refused.code).toBe(4200);
		expect(refused.field).toBe(v.field);
	});

	test("a frame of the other kind is refused", () => {
		expect(caught(() => json.decode(new ArrayBuffer(0))).code).toBe(4200);
		expect(caught(() => protobuf.decode("{}")).code).toBe(4200);
	});
});

function caught(what: () => unknown): RivuletError {
	try {
		what();
	} catch (e) {
		if (e instanceof RivuletError) return e;
		throw e;
	}
	throw new Error("nothing was thrown");
}

describe("data of messages", () => {
	// Writes data as the bytes that they are given as.
	const unchecked = new Map(
		[...events].map(([name, fields]) => [
			name,
			fields.map((f) => (f.name === "data" ? { ...f, type: "x" } : f)),
		]),
	);
	const frames = (input: string): Record<string, () => Frame> => {
		const data = new TextEncoder().encode(input);
		const raw = writeFrame(unchecked, { message: { channel: "a:b", data } });
		return {
			json: () => json.decode(`{"message":{"channel":"a:b","data":${input}}}`),
			protobuf: () => protobuf.decode(raw.slice().buffer as ArrayBuffer),
		};
	};

	test.each(vectors<DataVector>("data"))("$name", (v) => {
		for (const [codec, decode] of Object.entries(frames(v.input))) {
			if (v.problem) expect(caught(decode).code, codec).toBe(4200);
			else expect(decode().message.data, codec).toEqual(JSON.parse(v.compact as string));
		}
	});
});

test("what cannot be written is an error of the field", () => {
	const cyclic: any = {};
	cyclic.self = cyclic;
	for (const codec of [json, protobuf]) {
		const bad = caught(() => codec.encode({ id: 1, publish: { channel: "a:b", data: cyclic } }));
		expect([bad.code, codec.protocol]).toEqual([4400, codec.protocol]);
	}
	const field = (frame: Frame) => caught(() => protobuf.encode(frame)).field;
	expect(field({ id: 1, publish: { channel: "a:b", data: () => 1 } })).toBe("data");
	expect(field({ id: 1, publish: { channel: "a:b", ttl: 1.5, data: 1 } })).toBe("ttl");
	expect(field({ id: 1, publish: { channel: 7, data: 1 } })).toBe("channel");
	expect(field({ id: 1, publish: { channel: "a:b", headers: { a: 1 }, data: 1 } })).toBe("headers");
	expect(field({ id: 1, publish: { channel: "a:b", data_binary: [1] } })).toBe("data_binary");
	expect(spell({ channel: "a:b", data: 1 })).toEqual({ channel: "a:b", data: 1 });
});
