// The golden vectors of the protocol.

import { readFileSync } from "node:fs";

export interface Vector {
	name: string;
	clause: string;
	direction: "command" | "event";
	json?: string;
	hex?: string;
	protobuf?: string;
	value: any;
	decode_only?: boolean;
	id?: number;
	field?: string;
	problem?: string;
}

export interface DataVector {
	name: string;
	input: string;
	compact?: string;
	problem?: string;
}

/** Reads a file of protocol/testdata/vectors; a file without vectors is an error. */
export function vectors<V = Vector>(name: string): V[] {
	const file = new URL(`../../../../protocol/testdata/vectors/${name}.json`, import.meta.url);
	const { vectors } = JSON.parse(readFileSync(file, "utf8"));
	if (!(vectors.length > 0)) throw new Error(`${name}.json has no vectors`);
	return vectors;
}

export const fromHex = (digits: string): ArrayBuffer => {
	const out = new Uint8Array(digits.length / 2);
	for (const i of out.keys()) out[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
	return out.buffer;
};

export const toHex = (bytes: Uint8Array): string =>
	[...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
