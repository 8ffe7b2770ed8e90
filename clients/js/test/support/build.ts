// Global set-up of the tests that need a node: builds the binaries once.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newSecret } from "./rivulet.js";

export default function setup(): () => void {
	const root = new URL("../../../..", import.meta.url).pathname;
	const bin = mkdtempSync(join(tmpdir(), "rivulet-js-bin-"));
	const build = (name: string, pkg: string) => {
		const file = join(bin, name);
		execFileSync("go", ["build", "-o", file, pkg], { cwd: root, stdio: "inherit" });
		return file;
	};
	process.env.TEST_RIVULET_BIN = build("rivulet", "./cmd/rivulet");
	process.env.TEST_NATS_BIN = build("nats-server", "github.com/nats-io/nats-server/v2");
	process.env.TEST_SECRET = newSecret();
	return () => rmSync(bin, { recursive: true, force: true });
}
