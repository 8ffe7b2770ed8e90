import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig, type UserConfig } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

// Where a node is, for `npm run demo:dev`.
const node = process.env.RIVULET_URL ?? "http://127.0.0.1:8080";

const config: UserConfig = {
	root: here("."),
	plugins: [react()],
	build: {
		outDir: here("../../../cmd/demo/dist"),
		emptyOutDir: true,
		target: "es2022",
		cssTarget: ["chrome123", "firefox120", "safari17.5"], // they have light-dark()
		modulePreload: { polyfill: false },
		assetsInlineLimit: 0,
		reportCompressedSize: false,
		license: { fileName: "licenses.md" }, // of what is bundled: they ask for it
	},
	server: {
		proxy: {
			"/v1": { target: node, ws: true },
			"/demo": node,
		},
	},
};

export default defineConfig(({ command }) => {
	// The build is the same whatever the shell has set.
	if (command === "build") process.env.NODE_ENV = "production";
	return config;
});
