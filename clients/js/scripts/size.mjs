// Holds the size of the core, minified and gzipped, below its limit, and checks that what is not
// imported is not in the bundle.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build, minify } from "vite";

const limit = 12_032;
const folder = mkdtempSync(join(tmpdir(), "rivulet-size-"));

/** The chunks of a bundle whose one module is `source`, minified: what is loaded first, and later. */
async function bundle(source) {
	const entry = join(folder, "entry.js");
	writeFileSync(entry, source);
	const [{ output }] = await build({
		configFile: false,
		logLevel: "error",
		build: {
			write: false,
			target: "es2022",
			minify: false, // of a library vite leaves spaces in
			lib: { entry, formats: ["es"], fileName: "entry" },
			// As in an application: what is loaded later may import from what is loaded first.
			rolldownOptions: { preserveEntrySignatures: "allow-extension" },
		},
	});
	const first = new Set(output.filter((chunk) => chunk.isEntry).map((chunk) => chunk.fileName));
	for (const name of first) {
		for (const i of output.find((chunk) => chunk.fileName === name).imports) first.add(i);
	}
	const chunks = { first: "", later: "" };
	for (const { code, fileName } of output) {
		const small = await minify(fileName, code, { module: true });
		chunks[first.has(fileName) ? "first" : "later"] += small.code;
	}
	return chunks;
}

const size = (code) => gzipSync(code, { level: 9 }).length;
let failed = false;
const check = (ok, text) => {
	console.log(`${ok ? "ok    " : "FAILED"} ${text}`);
	failed ||= !ok;
};

const from = JSON.stringify(new URL("../src/index.ts", import.meta.url).pathname);
const core = await bundle(`import { Client } from ${from}; globalThis.x = Client;`);
const { length } = core.first;
check(
	size(core.first) < limit,
	`Client: ${size(core.first)} bytes of ${limit}, ${length} unzipped`,
);
console.log(`       ${size(core.later)} bytes more if all parts are loaded`);
if (process.argv[2]) writeFileSync(process.argv[2], core.first); // to look at

const error = await bundle(`import { RivuletError } from ${from}; globalThis.x = RivuletError;`);
const alone = size(error.first);
check(alone < 1500 && !error.first.includes("/v1/"), `RivuletError alone: ${alone} bytes`);

const nothing = await bundle(`import ${from}; globalThis.x = 1;`);
const none = size(nothing.first);
check(none < 200, `nothing: ${none} bytes, so no module has side effects`);

rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);
