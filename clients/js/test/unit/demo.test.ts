// What is checked in of the demo is what its sources are built to.

import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";

const package_ = fileURLToPath(new URL("../..", import.meta.url));
const checkedIn = join(package_, "../../cmd/demo/dist");
let built = "";

beforeAll(async () => {
	built = await mkdtemp(join(tmpdir(), "rivulet-demo-"));
	const vite = join(package_, "node_modules/vite/bin/vite.js");
	const args = ["build", "--config", "demo/vite.config.ts", "--outDir", built];
	await promisify(execFile)(process.execPath, [vite, ...args], { cwd: package_ });
}, 120_000);

afterAll(() => rm(built, { recursive: true, force: true }));

async function files(root: string): Promise<Record<string, string>> {
	const entries = await readdir(root, { recursive: true, withFileTypes: true });
	const list = entries.filter((e) => e.isFile()).map((e) => join(e.parentPath, e.name));
	const read = async (path: string) => [path.slice(root.length), await readFile(path, "utf8")];
	return Object.fromEntries(await Promise.all(list.map(read)));
}

test("the checked-in build of the demo is that of its sources", async () => {
	const [old, fresh] = [await files(checkedIn), await files(built)];
	const advice = "it is not: run `npm run demo` in clients/js and commit cmd/demo/dist";
	expect(Object.keys(fresh)).toContain("/index.html");
	expect(Object.keys(old).sort(), advice).toEqual(Object.keys(fresh).sort());
	const changed = Object.keys(fresh).filter((name) => old[name] !== fresh[name]);
	expect(changed, advice).toEqual([]);
});
