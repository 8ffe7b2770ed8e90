// Which options there are of a client and of what it asks. A type says so at once; this is for a
// language without types. A node ignores what it does not know.

import { takeOver } from "./brought.js";
import type { RivuletError } from "./errors.js";
import type { Host } from "./host.js";
import { wrong } from "./options.js";
import type { Ask } from "./publish.js";
import { deeper } from "./schema.js";
import type { ClientOptions, Handlers, SubscribeOptions } from "./types.js";

/** Refuses names that are not in the list. */
function only(what: string, given: object, known: string): void {
	const name = Object.keys(given).find((n) => !known.split(" ").includes(n));
	if (name) throw wrong(name, `${what} are ${known.replaceAll(" ", ", ")}`);
}

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

const ofSubscribe =
	"position positions last since persist durable conflate maxRate filter presence token buffer";

/**
 * The error that names an option or an event of the client which there is not, if one was given. Subscriptions
 * that were begun before this was loaded end where theirs are wrong, and what the token brought
 * before that is seen to.
 */
export function strange(host: Host): RivuletError | undefined {
	const { options, subs, listeners, routes } = host;
	if (routes) takeOver(host, routes);
	for (const sub of [...subs.values()]) {
		const error = thrown(() => checkSubscribe(sub.options, sub.handlers));
		if (!error) continue;
		const { at, state } = sub;
		sub.fail(error);
		if (!sub.handlers || sub.handlers.update) host.tell("error", error); // else it is told
		if (state === "live") at?.leave(sub);
	}
	return thrown(() => {
		only("options", options, Object.keys(ofClient).join(" "));
		for (const name of listeners.keys()) checkEvent(name);
		const { storage, codec } = options;
		if (storage && typeof storage.getItem !== "function")
			throw wrong("storage", "must have getItem, setItem and removeItem, as localStorage has");
		if (codec && typeof codec.encode !== "function")
			throw wrong("codec", "must be one, as protobuf of @rivulet-rt/client/protobuf is");
	});
}

function thrown(check: () => void): RivuletError | undefined {
	try {
		check();
	} catch (e) {
		return e as RivuletError;
	}
	return undefined;
}

/** Throws 4400 where there is no such event of a client. */
export const checkEvent = (name: string): void =>
	only("events", { [name]: 0 }, "state round_trip gap error message");

/** Throws 4400 where a subscription has others than there are. */
export function checkSubscribe(options: SubscribeOptions, handlers: Handlers<any> = {}): void {
	const both = [["options", options] as const, ["handlers", handlers] as const];
	for (const [what, given] of both)
		if (!given || typeof given !== "object")
			throw wrong(what, "must be an object, as in subscribe({ last: 5 }, { message: (m) => {} })");
	only("options", options, ofSubscribe);
	only("handlers", handlers, "message update");
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

/**
 * Throws 4400 for what a node refuses the whole frame for, and ends the connection with (P-2.5,
 * P-3.8). `text` is the command as JSON.stringify spells it: half of a pair, and only that, is an
 * escape there.
 */
export function checkFrame(text: string, command: object): void {
	if (!unreadable(text, command)) return;
	for (const [name, v] of Object.entries(command)) {
		const why = unreadable(JSON.stringify(v), v);
		if (why)
			throw wrong(
				name.replace(/_(.)/g, (_, c) => c.toUpperCase()),
				why,
			);
	}
}

function unreadable(text: string, value: unknown): string {
	if (text.replaceAll("\\\\", "").includes("\\ud"))
		return "has half of a surrogate pair, as of text that was cut in the middle of a character";
	return deeper(value, 64) ? "is nested more than 64 levels deep" : "";
}
