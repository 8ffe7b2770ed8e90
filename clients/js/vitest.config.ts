import { configDefaults, defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		projects: [
			{
				test: {
					name: "unit",
					include: ["test/unit/**/*.test.{ts,tsx}"],
					setupFiles: "test/unit/fake/seed.ts",
				},
			},
			{
				test: {
					name: "node",
					include: ["test/node/**/*.test.ts"],
					globalSetup: "test/support/build.ts",
					testTimeout: 60_000,
					hookTimeout: 60_000,
				},
			},
			{
				test: {
					name: "package",
					include: ["test/package/**/*.test.ts"],
					globalSetup: [
						"test/support/build.ts",
						"test/support/package.ts",
						"test/support/browsers.ts",
					],
					testTimeout: 60_000,
					hookTimeout: 60_000,
				},
			},
			{
				test: {
					name: "firefox",
					include: ["test/browser/{chaos,http,page}.test.ts"],
					env: { TEST_BROWSER: "firefox", CHAOS_CUTS: "6" },
					globalSetup: ["test/support/build.ts", "test/support/browsers.ts"],
					testTimeout: 120_000,
					hookTimeout: 120_000,
					fileParallelism: false,
				},
			},
			{
				test: {
					name: "browser",
					include: ["test/browser/**/*.test.ts"],
					globalSetup: ["test/support/build.ts", "test/support/browsers.ts"],
					testTimeout: 120_000,
					hookTimeout: 120_000,
					fileParallelism: false,
				},
			},
		],
		exclude: configDefaults.exclude,
	},
});
