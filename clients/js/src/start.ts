// Where a subscription is to begin.

import { toFields } from "./message.js";
import type { SubscribeOptions } from "./types.js";

/** The body of a subscribe: after the positions, if there are any, else as the application said. */
export function toSubscribe(
	channel: string,
	pattern: boolean,
	{ persist, token, buffer, ...options }: SubscribeOptions,
	known: string[],
): object {
	const { position, positions, last, since, ...rest } = options;
	const start = pattern ? { positions: known } : { position: known[0] };
	return { channel, ...toFields(known[0] ? { ...rest, ...start } : options) };
}
