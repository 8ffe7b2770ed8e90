// What may be asked of a subscription.

import { RivuletError } from "./errors.js";
import { isPattern } from "./names.js";
import type { SubscribeOptions } from "./types.js";

/** Throws 4400 for what no node would take; the rest is the node's to refuse. */
export function validate(channel: string, o: SubscribeOptions, session: boolean): void {
	const pattern = isPattern(channel);
	const starts = [o.position, o.positions, o.last, o.since].filter((s) => s !== undefined);
	if (starts.length > 1) refuse("position", "at most one of position, positions, last, since");
	if (pattern && o.position !== undefined) refuse("position", "a pattern resumes by positions");
	if (!pattern && (o.positions?.length ?? 0) > 1) refuse("positions", "are for patterns");
	if (pattern && o.durable) refuse("durable", "is not for patterns");
	if (pattern && o.presence) refuse("presence", "is not for patterns");
	if (o.durable && !session) refuse("durable", "needs the client's option session");
	if (o.maxRate !== undefined && !o.conflate) refuse("max_rate", "needs conflate");
}

function refuse(field: string, problem: string): never {
	throw new RivuletError(4400, `${field}: ${problem}`, { field });
}
