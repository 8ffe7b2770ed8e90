// Compiles programs of an application that has the package installed.

import { join } from "node:path";
import ts from "typescript";

/** The folder of the application: the package is in its node_modules. */
export const app = (): string => process.env.TEST_APP ?? "";

/** How an application's compiler may be set. */
export const resolutions = {
	bundler: {
		module: ts.ModuleKind.ESNext,
		moduleResolution: ts.ModuleResolutionKind.Bundler,
	},
	node16: {
		module: ts.ModuleKind.Node16,
		moduleResolution: ts.ModuleResolutionKind.Node16,
	},
} as const;

/** What the strictest compiler says about files of the application, by their paths. */
export function problems(
	files: Map<string, string>,
	how: keyof typeof resolutions = "bundler",
	more: ts.CompilerOptions = {},
): string[] {
	const options: ts.CompilerOptions = {
		...resolutions[how],
		target: ts.ScriptTarget.ES2022,
		lib: ["lib.es2023.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts", "lib.dom.asynciterable.d.ts"],
		jsx: ts.JsxEmit.ReactJSX,
		strict: true,
		exactOptionalPropertyTypes: true,
		noUncheckedIndexedAccess: true,
		noEmit: true,
		types: ["node"],
		...more,
	};
	const host = ts.createCompilerHost(options);
	const paths = new Map([...files].map(([name, text]) => [join(app(), name), text]));
	const { fileExists, readFile, getSourceFile } = host;
	host.getCurrentDirectory = app;
	host.fileExists = (name) => paths.has(name) || fileExists(name);
	host.readFile = (name) => paths.get(name) ?? readFile(name);
	host.getSourceFile = (name, version, ...rest) => {
		const text = paths.get(name);
		return text === undefined
			? getSourceFile(name, version, ...rest)
			: ts.createSourceFile(name, text, version);
	};
	const program = ts.createProgram([...paths.keys()], options, host);
	// Of the files and of the package's own types: to check the libraries takes half a minute.
	const checked = program
		.getSourceFiles()
		.filter(({ fileName }) => paths.has(fileName) || fileName.includes("/@rivulet-rt/client/"));
	const found = [
		...program.getOptionsDiagnostics(),
		...program.getGlobalDiagnostics(),
		...checked.flatMap((f) => [
			...program.getSyntacticDiagnostics(f),
			...program.getSemanticDiagnostics(f),
		]),
	];
	return found.map((d) => {
		const text = ts.flattenDiagnosticMessageText(d.messageText, "\n");
		if (!d.file || d.start === undefined) return text;
		const { line } = d.file.getLineAndCharacterOfPosition(d.start);
		return `${d.file.fileName.replace(`${app()}/`, "")}:${line + 1}: ${text}`;
	});
}
