import { minify } from "terser";
import { defineConfig, type Plugin } from "vite";
import { internal, shortNames } from "./scripts/internal.js";

/**
 * Makes the package small, which an application's bundler cannot do as well: it does not know which
 * names are internal. What is written here it makes smaller still.
 */
const shrink: Plugin = {
	name: "shrink",
	async renderChunk(source) {
		const { code, map } = await minify(source, {
			module: true,
			ecma: 2020,
			compress: { passes: 3 },
			mangle: {
				properties: { regex: new RegExp(`^(?:${internal.join("|")})$`), builtins: true },
			},
			nameCache: {
				props: { props: Object.fromEntries([...shortNames].map(([a, b]) => [`$${a}`, b])) },
			},
			format: { preserve_annotations: true },
			sourceMap: { asObject: true },
		});
		return { code: code ?? "", map: JSON.stringify(map) };
	},
};

export default defineConfig({
	plugins: [shrink],
	build: {
		target: "es2022",
		minify: false, // `shrink` does
		sourcemap: true,
		lib: {
			formats: ["es"],
			entry: {
				index: "src/index.ts",
				whole: "src/whole.ts",
				protobuf: "src/protobuf/index.ts",
				monitor: "src/monitor/index.ts",
				react: "src/react/index.ts",
			},
		},
		rolldownOptions: {
			external: ["react"],
			output: { chunkFileNames: "[name].js" }, // a hash is for applications to give
			checks: { pluginTimings: false }, // `shrink` takes a few seconds
		},
	},
});
