// What the names of properties in the sources mean, by the compiler.

import ts from "typescript";

const root = new URL("../..", import.meta.url).pathname;
const entries = ["index", "whole", "protobuf/index", "monitor/index", "react/index"];

export interface Members {
	/** Of each name of a property in the sources: how often it stands there. */
	used: Map<string, number>;
	/** Names that an application can see: of what the entries export, and all that can be had from it. */
	open: Set<string>;
	/** Names that stand, somewhere, for something that is not a member declared in the sources. */
	foreign: Map<string, string>;
}

/** Reads the sources with the compiler. */
export function members(): Members {
	const config = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile).config;
	const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
	const files = ts.sys.readDirectory(`${root}src`, [".ts", ".tsx"]);
	const program = ts.createProgram(files, options);
	const checker = program.getTypeChecker();
	const ours = (node: ts.Node) => node.getSourceFile().fileName.startsWith(`${root}src/`);

	const used = new Map<string, number>();
	const foreign = new Map<string, string>();
	const note = (name: ts.Node, symbol: ts.Symbol | undefined) => {
		used.set(name.getText(), (used.get(name.getText()) ?? 0) + 1);
		const declared = symbol?.declarations ?? [];
		const member =
			symbol && (symbol.flags & (ts.SymbolFlags.ClassMember | ts.SymbolFlags.Property)) !== 0;
		// Not of an object literal, whose names may be read as text.
		if (member && declared.length > 0 && declared.every((d) => ours(d) && typed(d.parent))) return;
		const file = name.getSourceFile();
		const { line } = file.getLineAndCharacterOfPosition(name.getStart());
		foreign.set(name.getText(), `${file.fileName.slice(root.length)}:${line + 1}`);
	};
	const visit = (node: ts.Node): void => {
		if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.name))
			note(node.name, checker.getSymbolAtLocation(node.name));
		else if (ts.isBindingElement(node) && ts.isObjectBindingPattern(node.parent)) {
			const name = node.propertyName ?? node.name;
			const of = checker.getTypeAtLocation(node.parent);
			if (ts.isIdentifier(name) && !node.dotDotDotToken)
				note(name, checker.getPropertyOfType(of, name.text));
		} else if (
			(ts.isPropertyAssignment(node) ||
				ts.isShorthandPropertyAssignment(node) ||
				ts.isMethodDeclaration(node) ||
				ts.isAccessor(node)) &&
			ts.isObjectLiteralExpression(node.parent) &&
			ts.isIdentifier(node.name)
		) {
			const type = checker.getContextualType(node.parent);
			note(
				node.name,
				(type && checker.getPropertyOfType(checker.getNonNullableType(type), node.name.text)) ??
					checker.getSymbolAtLocation(node.name),
			);
		} else if (
			(ts.isClassElement(node) || ts.isTypeElement(node)) &&
			node.name &&
			ts.isIdentifier(node.name)
		) {
			note(node.name, checker.getSymbolAtLocation(node.name));
		} else if (
			ts.isStringLiteralLike(node) &&
			(ts.isElementAccessExpression(node.parent) ||
				(ts.isBinaryExpression(node.parent) &&
					node.parent.operatorToken.kind === ts.SyntaxKind.InKeyword))
		) {
			foreign.set(node.text, "as text");
		}
		ts.forEachChild(node, visit);
	};
	for (const file of program.getSourceFiles()) if (ours(file)) visit(file);

	return { used, foreign, open: openNames(program, checker, ours) };
}

function openNames(
	program: ts.Program,
	checker: ts.TypeChecker,
	ours: (node: ts.Node) => boolean,
): Set<string> {
	const open = new Set<string>();
	const seen = new Set<ts.Node>();
	/** All that is named in a declaration, but not what is kept from applications. */
	const walk = (node: ts.Node): void => {
		if (seen.has(node) || hidden(node)) return;
		seen.add(node);
		if (
			(ts.isClassElement(node) || ts.isTypeElement(node) || ts.isPropertyAssignment(node)) &&
			node.name
		)
			open.add(node.name.getText());
		if (ts.isIdentifier(node)) {
			let symbol = checker.getSymbolAtLocation(node);
			if (symbol && symbol.flags & ts.SymbolFlags.Alias) symbol = checker.getAliasedSymbol(symbol);
			for (const d of symbol?.declarations ?? []) if (ours(d)) walk(d);
		}
		// Of what runs only the signature can be seen.
		ts.forEachChild(node, (child) => {
			if (!ts.isBlock(child)) walk(child);
		});
	};
	for (const entry of entries) {
		const file = program.getSourceFile(`${root}src/${entry}.ts`);
		const symbol = file && checker.getSymbolAtLocation(file);
		if (!symbol) throw new Error(`${entry}.ts exports nothing`);
		for (let e of checker.getExportsOfModule(symbol)) {
			if (e.flags & ts.SymbolFlags.Alias) e = checker.getAliasedSymbol(e);
			for (const d of e.declarations ?? []) walk(d);
		}
	}
	return open;
}

const typed = (node: ts.Node): boolean =>
	ts.isClassLike(node) || ts.isInterfaceDeclaration(node) || ts.isTypeLiteralNode(node);

const hidden = (node: ts.Node): boolean =>
	ts.getJSDocTags(node).some((tag) => tag.tagName.text === "internal") ||
	(ts.isClassElement(node) && node.name !== undefined && ts.isPrivateIdentifier(node.name));
