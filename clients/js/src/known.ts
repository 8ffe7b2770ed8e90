// Which options there are of a client and of what it asks. A type says so at once; this is for a
// language without types. A node ignores what it does not know.

import type { RivuletError } from "./errors.js";
import { only } from "./options.js";
import type { Ask } from "./publish.js";
import type { ClientOptions } from "./types.js";

const ofClient: Record<keyof ClientOptions, true> = {
	urls: true,
	token: true,
	name: true,
	session: true,
	codec: true,
	transports: true,
	storage: true,
	backoff: true,
	connectTimeout: true,
	replyTimeout: true,
	pingInterval: true,
	queue: true,
	lifecycle: true,
	onError: true,
	WebSocket: true,
	fetch: true,
	random: true,
	clock: true,
};

/** The error that names an option which there is not, if one was given. */
export function strange(options: ClientOptions): RivuletError | undefined {
	try {
		only("options", options, Object.keys(ofClient).join(" "));
	} catch (e) {
		return e as RivuletError;
	}
	return undefined;
}

const ofAsk: Record<Ask["kind"], string> = {
	publish:
		"idempotencyKey headers ttl delay deliverAt expectedOffset excludeSelf conflationKey updates offline timeout signal",
	history: "after before since limit order fold",
	presence: "limit after counts",
};

/** Throws 4400 where a command has another field than its options give. */
export function checkFields(kind: Ask["kind"], command: object): void {
	const { channel, data, ...fields }: any = command;
	const given = Object.keys(fields).map((name) => [
		name.replace(/_(.)/g, (_, c) => c.toUpperCase()),
		0,
	]);
	only("options", Object.fromEntries(given), ofAsk[kind]);
}
