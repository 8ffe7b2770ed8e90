// The transport over long polls: PROTOCOL.md, P-9.5. For networks that let nothing else through.

import type { OpenTransport } from "../types.js";
import { type Follow, positions } from "./follow.js";
import { Http } from "./http.js";

/** Seconds that a node may wait for a message. */
const wait = 25;
/** Milliseconds before the next request, after an answer without anything that came too soon. */
const pause = 1000;

const follow: Follow = async (subs, group, list, until) => {
	const { clock } = subs.requests;
	let at = positions(list);
	while (!until.aborted) {
		const asked = clock.now();
		const data = await subs.poll(list, wait, at, until);
		if (until.aborted) return;
		subs.alive(group);
		if (!data.recovered && list.length > 1) {
			// It does not say which of them has lost messages.
			for (const sub of list) await subs.catchUp(sub);
			at = positions(list);
			continue;
		}
		subs.take(list, data);
		// It is of all of them, also of those of which nothing came.
		at = `&position=${encodeURIComponent(data.position)}`;
		if (!data.messages.length && !data.more && clock.now() - asked < pause)
			await new Promise<void>((resolve) => {
				const over = () => {
					clock.clearTimeout(timer);
					resolve();
				};
				const timer = clock.setTimeout(over, pause);
				until.onabort = over;
			});
	}
};

/** Polls. */
export const open: OpenTransport = (options, events) => new Http(options, events, follow);
