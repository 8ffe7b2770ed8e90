// Properties of the codecs: what is written is read as it was, and no bytes break the reader.

import fc from "fast-check";
import { expect, test } from "vitest";
import { RivuletError } from "../../src/errors.js";
import { json } from "../../src/json.js";
import { commands } from "../../src/protobuf/commands.js";
import { protobuf } from "../../src/protobuf/index.js";
import { readFrame } from "../../src/protobuf/reader.js";
import { writeFrame } from "../../src/protobuf/writer.js";
import { events, parts, type Table } from "../../src/schema.js";
import type { Frame } from "../../src/types.js";

const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 });
const value = fc.jsonValue({ maxDepth: 8, stringUnit: "grapheme" });

/** Values of a type that are not what is meant where there is none. */
function some(type: string): fc.Arbitrary<unknown> {
	switch (type) {
		case "b":
			return fc.constant(true);
		case "i":
			return fc.integer({ min: 1, max: 0x7fffffff });
		case "n":
			return fc.maxSafeInteger().filter((n) => n !== 0);
		case "u":
			return fc.maxSafeNat().filter((n) => n !== 0);
		case "c":
			return fc.integer({ min: 1, max: 0xffff });
		case "l":
			return fc.array(fc.string({ unit: "grapheme" }), { minLength: 1, maxLength: 5 });
		case "h":
			return fc
				.dictionary(text, text, { minKeys: 1, maxKeys: 5, noNullPrototype: true })
				.map((d) => Object.fromEntries(Object.entries(d)));
		case "j":
			// JSON has no -0.
			return value.map((v) => JSON.parse(JSON.stringify(v)));
		case "x":
			return fc.uint8Array({ maxLength: 300 }).map((b) => Uint8Array.from(b));
		case "M":
		case "P":
			return fc.array(object(parts[type] as Table), { minLength: 1, maxLength: 3 });
	}
	return text;
}

/** Objects with the fields that are always there and any of the others. */
function object(fields: Table): fc.Arbitrary<any> {
	return fc.record(Object.fromEntries(fields.map((f) => [f.name, some(f.type)])), {
		requiredKeys: fields.filter((f) => f.mark === "!").map((f) => f.name),
		noNullPrototype: true,
	});
}

const frames = (known: Map<string, Table>): fc.Arbitrary<Frame> =>
	fc.oneof(
		...[...known].map(([name, fields]) =>
			fc.record(
				{ id: fc.maxSafeNat().filter((n) => n > 0), [name]: object(fields) },
				{ requiredKeys: [name], noNullPrototype: true },
			),
		),
	) as fc.Arbitrary<Frame>;

test("protobuf reads what it wrote", () => {
	for (const known of [commands, events]) {
		fc.assert(
			fc.property(frames(known), (frame) => {
				expect(readFrame(known, writeFrame(known, frame))).toEqual(frame);
			}),
			{ numRuns: 500 },
		);
	}
});

test("json reads what it wrote of data, and of bytes", () => {
	fc.assert(
		fc.property(frames(events), (frame) => {
			// Nodes write base64 in messages as a client does in a publish.
			const spelled = JSON.stringify(frame, (_, v) => {
				if (!(v?.data_binary instanceof Uint8Array)) return v;
				const { data_binary, ...rest } = v;
				return { ...rest, data_base64: Buffer.from(data_binary).toString("base64") };
			});
			expect(json.decode(spelled)).toEqual(frame);
		}),
		{ numRuns: 500 },
	);
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 1000 }), (bytes) => {
			const sent = JSON.parse(json.encode({ id: 1, publish: { data_binary: bytes } }) as string);
			expect(sent.publish.data_base64).toBe(Buffer.from(bytes).toString("base64"));
		}),
	);
});

/** Only RivuletError 4200 may come of it. */
function read(decode: () => Frame): void {
	try {
		decode();
	} catch (e) {
		expect(e).toBeInstanceOf(RivuletError);
		expect((e as RivuletError).code).toBe(4200);
	}
}

test("no bytes and no text break the readers", () => {
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 200 }), (b) =>
			read(() => protobuf.decode(Uint8Array.from(b).buffer)),
		),
		{ numRuns: 3000 },
	);
	fc.assert(
		fc.property(fc.oneof(fc.string(), fc.json(), text), (s) => read(() => json.decode(s))),
		{ numRuns: 3000 },
	);
	const names = fc.constantFrom(...events.keys());
	fc.assert(
		fc.property(names, fc.anything(), (name, v) => {
			let s = "{";
			try {
				s = JSON.stringify({ [name]: v }) ?? s;
			} catch {
				// a BigInt: then it is a frame that is cut off
			}
			read(() => json.decode(s));
		}),
		{ numRuns: 3000 },
	);
});

test("a frame that is damaged anywhere is read or refused", () => {
	fc.assert(
		fc.property(frames(events), fc.nat(), fc.nat(255), (frame, at, byte) => {
			const bytes = writeFrame(events, frame).slice();
			bytes[at % bytes.length] = byte;
			read(() => protobuf.decode(bytes.buffer as ArrayBuffer));
			read(() => protobuf.decode(bytes.slice(0, at % bytes.length).buffer as ArrayBuffer));
		}),
		{ numRuns: 1000 },
	);
});

test("what nests without end or is very large is refused or read in time", () => {
	read(() => json.decode(`{"message":{"data":${"[".repeat(1e6)}${"]".repeat(1e6)}}}`));
	const message = new Uint8Array(2e6).fill(0x3a); // a length that never fits
	read(() => protobuf.decode(message.buffer));
	// A million empty headers are no million copies.
	const headers = new Uint8Array(2e5);
	for (let i = 0; i < headers.length; i += 2) headers.set([0x42, 0], i);
	const event = new Uint8Array([0x3a, 0xc0, 0x9a, 0x0c, ...headers]);
	expect(protobuf.decode(event.buffer).message.headers).toEqual({ "": "" });
});
