// The token of one subscription.

import type { RivuletError } from "./errors.js";
import { clean, noToken, tokenError } from "./token.js";
import type { Clock } from "./types.js";

/** How long the application may take for a subscription's token: patterns wait meanwhile. */
const patience = 10_000;

/** Calls `done` once with what `get` brings, or with why there is nothing. Returns its timer. */
export function askToken(
	clock: Clock,
	get: () => string | Promise<string>,
	done: (token?: string, error?: RivuletError) => void,
): unknown {
	let over = false;
	const finish = (token?: string, error?: RivuletError) => {
		clock.clearTimeout(timer);
		if (!over) done(token, error);
		over = true;
	};
	const timer = clock.setTimeout(() => finish(undefined, noToken()), patience);
	(async () => clean(await get()))().then(finish, (e) => finish(undefined, tokenError(e)));
	return timer;
}
