// A real browser, and pages that have the SDK as `window.sdk`.

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type Browser, chromium, firefox, type Page } from "playwright-core";
import { build } from "vite";

/** Whether the browser is Firefox: the projects of vitest.config.ts say which it is. */
export const isFirefox = process.env.TEST_BROWSER === "firefox";

/** What browsers say of connections that are cut. Firefox has it among the errors of the page. */
export const ofNetwork =
	/ERR_CONNECTION|connection to ws:.* was interrupted|can.t establish a connection|CORS request did not succeed/;

/**
 * `without` are arguments of its own that Playwright is to leave out. A browser that crashes as it
 * starts, before it has seen a page, is started again.
 */
export async function launch(without: string[] = [], inFirefox = isFirefox): Promise<Browser> {
	for (let crashes = 0; ; crashes++) {
		try {
			return await start(without, inFirefox);
		} catch (e) {
			if (crashes === 2 || !/signal=SIG(SEGV|BUS|ILL|TRAP)/.test(String(e))) throw e;
		}
	}
}

function start(without: string[], inFirefox: boolean): Promise<Browser> {
	if (inFirefox) {
		return firefox.launch({
			channel: "moz-firefox",
			executablePath: new URL("firefox.mjs", import.meta.url).pathname,
		});
	}
	return chromium.launch({
		executablePath: process.env.TEST_CHROMIUM ?? "",
		ignoreDefaultArgs: without,
		args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
	});
}

/** Serves pages with the SDK, bundled and minified as an application would. */
export class Site {
	private constructor(
		private readonly server: Server,
		readonly url: string,
	) {}

	/** `source` is what the pages have as `window.sdk`: the core unless another is given. */
	static async open(source = "src/index.ts"): Promise<Site> {
		const scripts = await bundle(new URL(`../../${source}`, import.meta.url).pathname);
		return Site.serve(scripts, '<script type="module" src="/sdk.js"></script>');
	}

	/** Serves scripts by their paths, and pages that have `head`. */
	static async serve(scripts: Map<string, string>, head = ""): Promise<Site> {
		const server = createServer((request, response) => {
			const path = request.url?.split("?")[0];
			const script = scripts.get(path ?? "");
			if (script !== undefined) {
				response.setHeader("Content-Type", "text/javascript");
				response.end(script);
				return;
			}
			response.setHeader("Content-Type", "text/html; charset=utf-8");
			response.end(`<!doctype html><title>${path}</title><div id="root"></div>${head}`);
		});
		server.listen(0, "127.0.0.1");
		await once(server, "listening");
		const a = server.address();
		if (a === null || typeof a === "string") throw new Error("not listening");
		return new Site(server, `http://127.0.0.1:${a.port}`);
	}

	/** Loads `path` and waits for the SDK. Errors of the page go to `errors`. */
	async visit(page: Page, path = "/", errors: string[] = []): Promise<void> {
		page.on("pageerror", (e) => {
			if (!ofNetwork.test(`${e}`)) errors.push(`${e}`);
		});
		await page.goto(this.url + path);
		await page.waitForFunction("window.sdk !== undefined");
	}

	async close(): Promise<void> {
		this.server.closeAllConnections();
		this.server.close();
		await once(this.server, "close");
	}
}

const entry = "virtual:sdk-page";

/** The scripts by their paths; `/sdk.js` is the one that loads the others. */
async function bundle(source: string): Promise<Map<string, string>> {
	const result = await build({
		configFile: false,
		logLevel: "error",
		root: new URL("../..", import.meta.url).pathname,
		plugins: [
			{
				name: "sdk-page",
				resolveId: (id) => (id === entry ? id : undefined),
				load: (id) =>
					id === entry ? `import * as sdk from "${source}"; window.sdk = sdk;` : undefined,
			},
		],
		build: {
			write: false,
			target: "es2022",
			rolldownOptions: {
				input: entry,
				output: { entryFileNames: "sdk.js", chunkFileNames: "[name].js" },
			},
		},
	});
	const scripts = new Map<string, string>();
	for (const output of Array.isArray(result) ? result : [result]) {
		if (!("output" in output)) continue;
		for (const chunk of output.output) {
			if (chunk.type === "chunk") scripts.set(`/${chunk.fileName}`, chunk.code);
		}
	}
	return scripts;
}
