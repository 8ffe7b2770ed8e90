// Holds the size of the core, minified and gzipped as an application's bundler does it, below
// its limit, and checks that what is not imported is not in the bundle.

import { gzipSync } from "node:zlib";
import { build } from "vite";

const limit = 10 * 1024;

/** The code of a bundle whose one module is `source`. */
async function bundle(source) {
	const id = "\0entry";
	const result = await build({
		configFile: false,
		logLevel: "error",
		root: new URL("..", import.meta.url).pathname,
		plugins: [
			{
				name: "entry",
				resolveId: (name) => (name === "entry" ? id : undefined),
				load: (name) => (name === id ? source : undefined),
			},
		],
		build: {
			write: false,
			target: "es2022",
			minify: true,
			modulePreload: false,
			rolldownOptions: { input: "entry" },
		},
	});
	return result.output[0].code;
}

const size = (code) => gzipSync(code, { level: 9 }).length;
let failed = false;
const check = (ok, text) => {
	console.log(`${ok ? "ok    " : "FAILED"} ${text}`);
	failed ||= !ok;
};

const from = JSON.stringify(new URL("../src/index.ts", import.meta.url).pathname);
const core = await bundle(`import { Client } from ${from}; globalThis.x = Client;`);
check(size(core) < limit, `Client: ${size(core)} bytes of ${limit}, ${core.length} before gzip`);

const error = await bundle(`import { RivuletError } from ${from}; globalThis.x = RivuletError;`);
check(size(error) < 1500 && !error.includes("/v1/"), `RivuletError alone: ${size(error)} bytes`);

const nothing = await bundle(`import ${from}; globalThis.x = 1;`);
check(size(nothing) < 200, `nothing: ${size(nothing)} bytes, so no module has side effects`);

process.exit(failed ? 1 : 0);
