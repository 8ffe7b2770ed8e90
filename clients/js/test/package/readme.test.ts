// The examples of the README, as they stand: each compiles against the package that npm gets, and
// those that are marked run against a real node and print what the README says.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { app, problems } from "../support/compile.js";
import { Node } from "../support/rivulet.js";

interface Example {
	name: string;
	kind: string;
	code: string;
	/** What it prints; `undefined`: it is not run. */
	prints: string | undefined;
}

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

/** The examples, each with the heading above it. */
function examples(): Example[] {
	const all: Example[] = [];
	const block = /^#+ (.*)$|(?:<!-- test: (\w+) -->\n)?^```(\w+)\n([\s\S]*?)^```$/gm;
	let heading = "";
	for (const [, title, mark, kind, code = ""] of readme.matchAll(block)) {
		if (title !== undefined) heading = title;
		else if (mark === "prints") (all.at(-1) as Example).prints = code;
		else if (kind === "ts" || kind === "tsx") {
			const name = `${heading} ${all.length + 1}`;
			all.push({ name, kind, code, prints: mark === "run" ? "" : undefined });
		}
	}
	return all;
}

const all = examples();
const running = all.filter((e) => e.prints !== undefined);

/** Those that go on with `client` get it from the test. */
const goesOn = ({ code }: Example): boolean => !/\bnew Client\(/.test(code);

let node: Node;
beforeAll(async () => {
	node = await Node.start();
	// What the browser has and Node 20 has not.
	const browser = `
		import { WebSocket } from ${JSON.stringify(import.meta.resolve("ws"))};
		globalThis.WebSocket ??= WebSocket;
		const kept = new Map();
		Object.defineProperty(globalThis, "localStorage", { value: {
			getItem: (k) => kept.get(k) ?? null,
			setItem: (k, v) => void kept.set(k, v),
			removeItem: (k) => void kept.delete(k),
		} });`;
	await writeFile(join(app(), "browser.mjs"), browser);
});
afterAll(() => node?.stop());

/** Runs a program until it has printed enough: most examples leave their client open. */
function run(
	file: string,
	enough: (stdout: string) => boolean,
): Promise<{ stdout: string; stderr: string }> {
	const told = { stdout: "", stderr: "" };
	const child = spawn(process.execPath, ["--import", join(app(), "browser.mjs"), file], {
		cwd: app(),
		timeout: 20_000,
	});
	child.stderr.on("data", (part) => {
		told.stderr += part;
	});
	child.stdout.on("data", (part) => {
		told.stdout += part;
		if (enough(told.stdout)) child.kill();
	});
	return new Promise((resolve, reject) => {
		child.once("error", reject);
		child.once("close", () => resolve(told));
	});
}

test("there are as many as were written", () => {
	expect([all.length, running.length]).toEqual([17, 9]);
});

test("each compiles", () => {
	const files = new Map(
		all.map((e, i) => {
			const given = goesOn(e)
				? 'import { Client as C } from "@rivulet-rt/client"; declare const client: C;'
				: "";
			return [
				`example${i + 1}.${e.kind === "tsx" ? "tsx" : "mts"}`,
				`${given}${e.code}\nexport {};`,
			];
		}),
	);
	const guide = readFileSync(new URL("../../../../docs/browser.md", import.meta.url), "utf8");
	files.set("guide.mts", /```ts\n([\s\S]*?)```/.exec(guide)?.[1] ?? "the guide has no example");
	expect(problems(files, "bundler", { types: ["node", "ws"] })).toEqual([]);
});

describe("prints what it says", () => {
	test.each(running)("$name", async (example) => {
		const url = JSON.stringify(node.url);
		const given = `import { Client as C } from "@rivulet-rt/client"; const client = new C(${url});`;
		const code = goesOn(example) ? given + example.code : example.code;
		const source = code.replaceAll('"http://127.0.0.1:8080"', url);
		const { outputText } = ts.transpileModule(source, {
			compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
		});
		const file = join(app(), `${example.name.replaceAll(/\W+/g, "-")}.mjs`);
		await writeFile(file, outputText);
		const lines = (example.prints ?? "").trimEnd().split("\n");
		const { stdout, stderr } = await run(file, (text) => text.split("\n").length > lines.length);
		expect(stderr).toBe("");
		expect(stdout.trimEnd().split("\n")).toEqual(lines);
	});
});
