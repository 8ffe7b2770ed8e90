// Global set-up of the browser tests: there must be a Chromium.

import { existsSync } from "node:fs";

const places = [
	"/usr/bin/chromium",
	"/usr/bin/chromium-browser",
	"/usr/bin/google-chrome",
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

export default function setup(): void {
	const found = process.env.TEST_CHROMIUM ?? places.find((place) => existsSync(place));
	if (!found) {
		throw new Error(
			"no Chromium: install it (Debian: apt-get install chromium) or name it in TEST_CHROMIUM",
		);
	}
	process.env.TEST_CHROMIUM = found;
}
