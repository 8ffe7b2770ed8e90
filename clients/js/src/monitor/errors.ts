// Errors that nobody caught, by their names and where they came from.

/** One error: its class and the place in a script, without host, query, or what it says. */
export interface Reported {
	kind: "uncaught" | "unhandled";
	name: string;
	/** `/app.js:12:3`; empty where it is not known, or is a page: its path may tell of whom. */
	source: string;
}

/** Tells of errors until what is returned is called. */
export function errorsOf(tell: (error: Reported) => void): () => void {
	if (typeof addEventListener === "undefined") return () => {};
	const uncaught = (e: Event) => {
		const { error, filename, lineno, colno } = e as ErrorEvent;
		if (filename === undefined) return; // an element's: a picture that does not load
		tell({ kind: "uncaught", name: nameOf(error), source: place(filename, lineno, colno) });
	};
	const unhandled = (e: Event) => {
		const { reason } = e as PromiseRejectionEvent;
		tell({ kind: "unhandled", name: nameOf(reason), source: "" });
	};
	addEventListener("error", uncaught);
	addEventListener("unhandledrejection", unhandled);
	return () => {
		removeEventListener("error", uncaught);
		removeEventListener("unhandledrejection", unhandled);
	};
}

/** A class's name: letters, at most 64; what else stands there might be anything. */
function nameOf(error: unknown): string {
	try {
		const name = error instanceof Error ? error.name : typeof error;
		if (/^\w{1,64}$/.test(name)) return name;
	} catch {
		// Its getter throws.
	}
	return "Error";
}

/**
 * Of scripts with a file, by the ending: inline ones have the path of the page as it was loaded,
 * which its address may not show any more; those of `data:` their very text.
 */
function place(file: string, line: number, column: number): string {
	try {
		const { protocol, pathname } = new URL(file);
		if (!/^https?:$/.test(protocol) || !/\.[cm]?[jt]sx?$/.test(pathname)) return "";
		return `${pathname.slice(-100)}:${line}:${column}`;
	} catch {
		return "";
	}
}
