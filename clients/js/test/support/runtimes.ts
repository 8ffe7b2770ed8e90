// Where the runtimes are that `test/runtimes/package.json` pins.

import { existsSync } from "node:fs";

/** A runtime, and how it runs a program with access to the network and no more. */
export interface Runtime {
	name: string;
	/** `undefined`: there is none for this machine. */
	binary: string | undefined;
	args: string[];
}

const folder = new URL("../runtimes/", import.meta.url).pathname;
const { platform, arch } = process;

/** The binaries that come as packages of platforms, without the scripts of their installation. */
function installed(name: string, binary: string): string {
	const file = `${folder}node_modules/${name}/${binary}`;
	if (existsSync(file)) return file;
	throw new Error(`no ${file}: run \`npm ci --ignore-scripts\` in ${folder}`);
}

/** Node's first versions of old are packaged for Linux alone. */
const node = (major: number, ...args: string[]): Runtime => ({
	name: `Node ${major}`,
	binary:
		platform === "linux" ? installed(`node-${major}-${platform}-${arch}`, "bin/node") : undefined,
	args,
});

export function runtimes(): Runtime[] {
	const libc = platform === "linux" ? "-glibc" : "";
	const deno = installed(`@deno/${platform}-${arch}${libc}`, "deno");
	const cpu = arch === "arm64" ? "aarch64" : arch;
	const bun = installed(`@oven/bun-${platform}-${cpu}`, "bin/bun");
	return [
		{ name: "the Node that runs the tests", binary: process.execPath, args: [] },
		node(20),
		node(22, "--disable-warning=UNDICI-WS"), // it says that it is experimental
		node(26),
		{ name: "Deno", binary: deno, args: ["run", "--no-prompt", "--allow-net=127.0.0.1"] },
		{ name: "Bun", binary: bun, args: [] },
	];
}
