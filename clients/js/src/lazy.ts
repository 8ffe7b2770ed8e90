// What is loaded when it is needed for the first time: see more.ts and choice.ts.

import { known, RivuletError } from "./errors.js";
import type { Host } from "./host.js";
import type { More } from "./more.js";
import { open } from "./transport/websocket.js";
import type { Opens } from "./types.js";

/** How each is loaded. The transports over HTTP are needed seldom; the first is here already. */
export const chunks = {
	more: () => import("./more.js"),
	choice: () => import("./choice.js"),
	websocket: async (): Promise<Opens> => ({ open }),
	sse: (): Promise<Opens> => import("./transport/sse.js"),
	poll: (): Promise<Opens> => import("./transport/poll.js"),
};

/** What connects and begins without it, once it was loaded. */
export let more: More | undefined;

/** Loads it. Rejects where it cannot be loaded now. */
export async function load(): Promise<void> {
	if (more) return;
	more = (await chunks.more()).more;
	Object.assign(known, more.advices);
}

/** That a chunk could not be loaded. */
export const notLoaded = (cause: unknown, retryAfterMs = 0): RivuletError =>
	new RivuletError(4503, `a part of the SDK was not loaded: ${cause}`, {
		retryAfterMs,
		cause,
		advice: "If it stays so, load the page again.",
	});

/**
 * Calls `use` when it is there, at once if it is: for a subscription or a connection, however often
 * it takes, unless that ends.
 */
export async function loadFor(
	host: Host,
	user: { readonly state: string; retry: unknown },
	use: (all: More) => void,
	failures = 1,
): Promise<void> {
	try {
		if (!more) await load();
	} catch (cause) {
		if (user.state === "ended") return;
		const ms = host.wait(failures);
		host.tell("error", notLoaded(cause, ms));
		user.retry = host.clock.setTimeout(() => loadFor(host, user, use, failures + 1), ms);
		return;
	}
	if (more && user.state !== "ended") use(more);
}
