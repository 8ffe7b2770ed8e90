// What can be said of the SDK without running it, as `npm run check`: two at a time, since they
// have nothing to do with each other. What one of them prints is shown where it fails.

import { spawn } from "node:child_process";

/** Each after the last of its own line, the lines beside each other. */
const lines = [
	["lint", "typecheck", "size"],
	["build", "package", "api"],
];
let failed = false;

function run(name) {
	return new Promise((resolve) => {
		const began = performance.now();
		const child = spawn("npm", ["run", "--silent", name], { stdio: ["ignore", "pipe", "pipe"] });
		let text = "";
		for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => (text += part));
		child.on("error", (e) => (text += e));
		child.on("close", (code) => {
			const seconds = ((performance.now() - began) / 1000).toFixed(1);
			console.log(`${code === 0 ? "ok    " : "FAILED"} npm run ${name} (${seconds} s)`);
			if (code !== 0 || name === "size") console.log(text.trimEnd());
			failed ||= code !== 0;
			resolve();
		});
	});
}

await Promise.all(
	lines.map(async (line) => {
		for (const name of line) await run(name);
	}),
);
process.exit(failed ? 1 : 0);
