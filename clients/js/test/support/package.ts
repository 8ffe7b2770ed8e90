// Global set-up of the tests of the package: packs it as npm would, which builds it, and unpacks it
// into a folder that has it installed, with the tools of an application beside it, and the programs
// of test/runtimes.

import { execFileSync } from "node:child_process";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	renameSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";

/** What an application of the tests has installed beside the package. */
const others = ["ws", "react", "react-dom", "@types", "vite", "csstype", "undici-types"];

export default function setup(): () => void {
	const root = new URL("../..", import.meta.url).pathname;
	const folder = mkdtempSync(join(tmpdir(), "rivulet-js-app-"));
	const run = (command: string, ...args: string[]) =>
		execFileSync(command, args, {
			cwd: root,
			encoding: "utf8",
			stdio: ["ignore", "pipe", "inherit"],
		});
	const packed = run("npm", "pack", "--json", "--pack-destination", folder);
	const [{ filename, files }] = JSON.parse(packed.slice(packed.indexOf("[")));
	const modules = join(folder, "node_modules");
	mkdirSync(join(modules, "@rivulet-rt"), { recursive: true });
	run("tar", "-xzf", join(folder, filename), "-C", folder);
	renameSync(join(folder, "package"), join(modules, "@rivulet-rt/client"));
	for (const name of others) {
		const at = join(root, "node_modules", name);
		if (existsSync(at)) symlinkSync(at, join(modules, name));
	}
	writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }');
	for (const name of ["program", "worker"]) {
		const source = readFileSync(join(root, `test/runtimes/${name}.ts`), "utf8");
		const { outputText } = ts.transpileModule(source, {
			compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
		});
		writeFileSync(join(folder, `${name}.js`), outputText);
	}
	process.env.TEST_APP = folder;
	process.env.TEST_PACKED = JSON.stringify(files.map((f: { path: string }) => f.path));
	return () => rmSync(folder, { recursive: true, force: true });
}
