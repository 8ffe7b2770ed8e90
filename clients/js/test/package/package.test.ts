// What npm gets, as an application has it: installed from the packed archive.

import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "vite";
import { describe, expect, test } from "vitest";
import { app, problems, type resolutions } from "../support/compile.js";

const run = promisify(execFile);
const own = new URL("../../package.json", import.meta.url);
const runtimes = new URL("../runtimes/package.json", import.meta.url);
const entries = ["", "/whole", "/protobuf", "/monitor", "/react"].map(
	(e) => `@rivulet-rt/client${e}`,
);

test("it has no dependencies, and says so", async () => {
	const manifest = JSON.parse(await readFile(own, "utf8"));
	for (const kind of ["dependencies", "optionalDependencies", "bundleDependencies"]) {
		expect(manifest[kind]).toBeUndefined();
	}
	expect(manifest.peerDependencies).toEqual({ react: ">=18" });
	expect(manifest.peerDependenciesMeta.react.optional).toBe(true);
	expect(manifest.license).toBe("Apache-2.0");
});

test("the version that it tells nodes is its own", async () => {
	const { version } = JSON.parse(await readFile(own, "utf8"));
	const source = await readFile(new URL("../../src/version.ts", import.meta.url), "utf8");
	expect(source).toContain(`"${version}"`);
});

test("each of its tools is explained", async () => {
	const { devDependencies } = JSON.parse(await readFile(own, "utf8"));
	const pinned = JSON.parse(await readFile(runtimes, "utf8"));
	const tools = new Set([
		...Object.keys({ ...devDependencies, ...pinned.devDependencies }),
		...Object.keys(pinned.optionalDependencies).map((name) => name.replace(/-.*/, "")),
	]);
	const page = await readFile(new URL("../../../../docs/dependencies.md", import.meta.url), "utf8");
	const [, section = ""] = page.split("## The browser SDK");
	const explained = [...section.matchAll(/\* `([^`]+)`/g)].map((m) => m[1]);
	expect(explained.sort()).toEqual([...tools].sort());
});

test("the README names the runtimes that it is tested in", async () => {
	const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
	const { devDependencies, optionalDependencies } = JSON.parse(await readFile(runtimes, "utf8"));
	const row = (name: string) => new RegExp(`^\\| ${name} .*$`, "m").exec(readme)?.[0];
	expect(row("Deno")).toContain(` ${devDependencies.deno} `);
	expect(row("Bun")).toContain(` ${devDependencies.bun} `);
	for (const [name, alias] of Object.entries<string>(optionalDependencies)) {
		const [, version] = /@([\d.]+)$/.exec(alias) ?? [];
		expect(row("Node"), name).toMatch(new RegExp(` ${version?.replaceAll(".", "\\.")}[ ,]`));
	}
});

test("the archive has what belongs there and nothing else", () => {
	const files: string[] = JSON.parse(process.env.TEST_PACKED ?? "[]");
	const odd = files.filter(
		(f) =>
			!/^(package\.json|README\.md|LICENSE|dist\/[\w-]+\.js(\.map)?|dist\/types\/[\w/]+\.d\.ts)$/.test(
				f,
			),
	);
	expect(odd).toEqual([]);
	for (const f of ["README.md", "LICENSE", "dist/index.js", "dist/types/index.d.ts"]) {
		expect(files).toContain(f);
	}
});

test("Node imports each entry", async () => {
	const script = `
		const all = await Promise.all(${JSON.stringify(entries)}.map((e) => import(e)));
		console.log(JSON.stringify(all.map((m) => Object.keys(m).sort())));`;
	const file = join(app(), "entries.mjs");
	await writeFile(file, script);
	const { stdout } = await run(process.execPath, [file], { cwd: app() });
	expect(JSON.parse(stdout)).toEqual([
		["Client", "RivuletError", "advice"],
		["Client", "RivuletError", "advice"],
		["protobuf"],
		["monitor"],
		["useChannel", "useConnectionState", "usePresence"],
	]);
});

const source = `
	import { Client, RivuletError, type Message, type StateChange } from "@rivulet-rt/client";
	import { monitor, type Report } from "@rivulet-rt/client/monitor";
	import { protobuf } from "@rivulet-rt/client/protobuf";
	import { useChannel } from "@rivulet-rt/client/react";
	const client = new Client("https://node.example", { codec: protobuf, storage: localStorage });
	const channel = client.channel<{ text: string }>("chat:lobby");
	export const offset: Promise<number | undefined> = channel.publish({ text: "x" }).then((p) => p.offset);
	// @ts-expect-error: of another type
	void channel.publish({ txet: "x" });
	// @ts-expect-error: no such state
	export const state: StateChange["state"] = "asleep";
	export const watch = monitor(client, "https://node.example", { before: (r: Report) => r });
	export const code: number = new RivuletError(4400, "").code;
	export async function last(): Promise<Message<{ text: string }> | undefined> {
		for await (const m of channel.subscribe()) return m;
		return undefined;
	}
	export const use = () => useChannel<{ text: string }>(client, "chat:lobby").messages[0]?.data.text;
`;

describe.each(["bundler", "node16"] as (keyof typeof resolutions)[])("types, with %s", (how) => {
	test("are right, and those of the package itself", () => {
		expect(problems(new Map([["app.mts", source]]), how)).toEqual([]);
	});
});

/** An application's code: what it has at first, and what it loads later. */
async function bundled(from: string, output = {}): Promise<{ first: string; later: string }> {
	const entry = join(app(), "entry.js");
	await writeFile(entry, `import { Client } from "${from}"; globalThis.x = Client;`);
	const result = await build({
		configFile: false,
		logLevel: "error",
		root: app(),
		build: { write: false, target: "es2022", rolldownOptions: { input: entry, output } },
	});
	const chunks = [result].flat().flatMap((r) => ("output" in r ? r.output : []));
	const code = chunks.flatMap((c) => ("code" in c ? [c] : []));
	const first = new Set(code.filter((c) => c.isEntry));
	for (const { imports } of first)
		for (const c of code) if (imports.includes(c.fileName)) first.add(c);
	const text = (now: boolean) => code.flatMap((c) => (first.has(c) === now ? [c.code] : []));
	return { first: text(true).join("\n"), later: text(false).join("\n") };
}

const parts = ["storage failed", "/v1/poll", "text/event-stream"];

test("an application of Vite has only what it imports, and at first what it needs then", async () => {
	const { first, later } = await bundled("@rivulet-rt/client");
	expect(first).toContain("/v1/ws");
	for (const other of ["/v1/telemetry", "useSyncExternalStore", "rivulet.v1.protobuf"]) {
		expect(first + later).not.toContain(other);
	}
	for (const part of parts) {
		expect(first).not.toContain(part);
		expect(later).toContain(part);
	}
});

test("there is nothing to be loaded later in a bundle of one file, and of the whole", async () => {
	const one = { format: "iife", codeSplitting: false };
	for (const { first, later } of [
		await bundled("@rivulet-rt/client", one),
		await bundled("@rivulet-rt/client/whole"),
	]) {
		for (const part of parts) {
			expect(first).toContain(part);
			expect(later).not.toContain(part);
		}
	}
});
