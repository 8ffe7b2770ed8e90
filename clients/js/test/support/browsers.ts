// Global set-up of the browser tests: there must be a Chromium, and a Firefox.

import { existsSync } from "node:fs";

const chromium = [
	"/usr/bin/chromium",
	"/usr/bin/chromium-browser",
	"/usr/bin/google-chrome",
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const firefox = [
	"/usr/bin/firefox-esr",
	"/usr/bin/firefox",
	"/Applications/Firefox.app/Contents/MacOS/firefox",
];

export default function setup(): void {
	find("Chromium", "chromium", "TEST_CHROMIUM", chromium);
	find("Firefox", "firefox-esr", "TEST_FIREFOX", firefox);
}

function find(name: string, debian: string, variable: string, places: string[]): void {
	const found = process.env[variable] ?? places.find((place) => existsSync(place));
	if (!found) {
		throw new Error(
			`no ${name}: install it (Debian: apt-get install ${debian}) or name it in ${variable}`,
		);
	}
	process.env[variable] = found;
}
