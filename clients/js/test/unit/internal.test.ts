// The names that the package has short ones for: of nothing that an application or a node sees.

import { expect, test } from "vitest";
import { internal, shortNames } from "../../scripts/internal.js";
import { commands } from "../../src/protobuf/commands.js";
import { events, parts } from "../../src/schema.js";
import { members } from "../support/members.js";

const { used, open, foreign } = members();
const listed = (names: Iterable<string>) => [...names].filter((name) => internal.includes(name));

test("each is a member of the SDK's own classes and interfaces, wherever it stands", () => {
	expect(listed(foreign.keys()).map((name) => `${name}: ${foreign.get(name)}`)).toEqual([]);
	expect(internal.filter((name) => !used.has(name))).toEqual([]);
});

test("an application sees none of them", () => {
	for (const name of ["publish", "retryAfterMs", "unsubscribe", "getItem", "replyTimeout", "gaps"])
		expect(open, name).toContain(name);
	expect(listed(open)).toEqual([]);
});

test("none is on the wire", () => {
	const tables = [...Object.values(parts)];
	for (const known of [events, commands]) {
		expect(listed(known.keys())).toEqual([]);
		tables.push(...known.values());
	}
	for (const table of tables) expect(listed(table.map((field) => field.name))).toEqual([]);
});

test("each has a name of its own, which nothing else has", () => {
	const short = [...shortNames.values()];
	expect(new Set(short).size).toBe(internal.length);
	expect(short.filter((name) => used.has(name) && !internal.includes(name))).toEqual([]);
	expect(listed(short)).toEqual([]);
});
