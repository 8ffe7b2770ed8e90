import { defineConfig } from "vite";

export default defineConfig({
	build: {
		target: "es2022",
		minify: false, // the application's own bundler does that
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
		rolldownOptions: { external: ["react"] },
	},
});
