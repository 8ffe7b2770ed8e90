// A fresh token for a connection that stands.

import type { Link } from "./connection.js";
import type { RivuletError } from "./errors.js";
import type { TokenHost } from "./token.js";

/** Gives the node a fresh one; where that fails to the end, it closes with 4006. */
export async function renew(
	host: TokenHost,
	link: Link,
	until: number,
	attempt = 1,
): Promise<void> {
	const { clock } = host;
	const failed = (error: RivuletError) => {
		if (link.isLost) return;
		host.tell("error", error);
		if (!error.temporary || clock.now() >= until) return;
		const ms = host.wait(attempt, error.retryAfterMs);
		host.renewal = clock.setTimeout(() => renew(host, link, until, attempt + 1), ms);
	};
	try {
		const token = await host.token("expiring");
		link.call({ refresh: { token } }, (_, error) => error && failed(error));
	} catch (e) {
		failed(e as RivuletError);
	}
}
