// What is loaded when it is needed for the first time: see more.ts and choice.ts.

import { RivuletError } from "./errors.js";
import type { Host } from "./host.js";
import type * as More from "./more.js";
import type { OpenTransport } from "./types.js";

/** How each is loaded. */
export const chunks = {
	more: () => import("./more.js"),
	choice: () => import("./choice.js"),
	sse: (): Promise<{ openSse: OpenTransport }> => import("./transport/sse.js"),
	poll: (): Promise<{ openPoll: OpenTransport }> => import("./transport/poll.js"),
};

/** What few pages need, once it was loaded. */
export let more: typeof More | undefined;

/** Loads it. Rejects where it cannot be loaded now. */
export async function load(): Promise<void> {
	more ??= await chunks.more();
}

/** That a chunk could not be loaded. */
export const notLoaded = (cause: unknown, retryAfterMs = 0): RivuletError =>
	new RivuletError(4503, `a part of the SDK was not loaded: ${cause}`, {
		retryAfterMs,
		cause,
		advice: "Tried again. If it stays so, look whether the page's own scripts can be loaded.",
	});

/** Loads it for a subscription, however often it takes, unless that ends. */
export async function loadFor(
	{ clock, wait, tell }: Host,
	sub: { readonly state: string; retry: unknown },
): Promise<void> {
	for (let failures = 1; !more && sub.state !== "ended"; failures++) {
		try {
			await load();
		} catch (cause) {
			if (sub.state === "ended") return;
			const ms = wait(failures);
			tell("error", notLoaded(cause, ms));
			await new Promise<void>((go) => {
				sub.retry = clock.setTimeout(go, ms);
			});
		}
	}
}
