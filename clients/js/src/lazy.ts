// Loads that chunk when it is needed for the first time.

import type * as More from "./more.js";

/** The chunk, once it was loaded. */
export let more: typeof More | undefined;

/** Loads it. Rejects where it cannot be loaded now. */
export async function load(): Promise<void> {
	more ??= await import("./more.js");
}
