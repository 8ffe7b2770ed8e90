// The events of protocol/rivulet.proto as a table, which both codecs read.

import { RivuletError } from "./errors.js";

/**
 * A field: its number is its place among its like. `type` is one of
 * s string, b bool, i int32, n int64, u uint64, c a code, l list of strings, h headers,
 * j a JSON value, x bytes, M messages, P members.
 */
export interface Field {
	name: string;
	type: string;
	/** JSON always writes it, so that an absent one is zero (`!`), or 0 and "" are told from absent (`?`). */
	mark: string | undefined;
}

export type Table = readonly Field[];

/** Reads `name:type!` of each field, one after the other. */
export const table = (text: string): Table =>
	(text.match(/\S+/g) ?? []).map((field) => {
		const [, name = "", type = "s", mark] = /^(\w+):?(\w)?(.)?$/.exec(field) ?? [];
		return { name, type, mark };
	});

/** Commands or events by name; the number of the n-th is n + 2, after the frame's `id`. */
export const tables = (texts: Record<string, string>): Map<string, Table> =>
	new Map(Object.entries(texts).map(([name, text]) => [name, table(text)]));

const message =
	"channel:s! offset:u! position:s! time:n! id user client headers:h data:j? data_binary:x? conflation_key updates:u group attempt:i ack_token";

/** What lists hold. */
export const parts: Record<string, Table> = /* @__PURE__ */ (() => ({
	M: table(message),
	P: table("client:s! user info:j? since:n"),
}))();

export const events: Map<string, Table> = /* @__PURE__ */ tables({
	connected: "client:s! node:s! ping_interval:i! max_frame:i session resumed:b expires_in_ms:n",
	subscribed:
		"channel:s! position positions:l recovered:b! reason durable:b resumed:b group ack_wait_ms:n",
	unsubscribed: "channel:s! code:c reason",
	published: "channel:s! offset:u position time:n duplicate:b! schedule deliver_at:n",
	history: "channel:s! messages:M! position:s! more:b! recovered:b! reason",
	message,
	caught_up: "channel:s! position positions:l",
	gap: "channel:s! position:s! reason:s!",
	position: "channel:s! position:s!",
	deleted: "channel:s! offset:u! position:s!",
	error: "code:c! message:s! field temporary:b! retry_after_ms:n!",
	disconnect: "code:c! reason:s! reconnect:b! retry_after_ms:n!",
	ping: "",
	pong: "",
	acked: "channel:s! offset:u position token",
	presence: "channel:s! members:P joined:P left:P clients:i! users:i! next partial:b",
	expiring: "in_ms:n!",
});

/** What an absent field of the type is. */
export const zero = (type: string): unknown =>
	type === "b" ? false : type === "s" ? "" : /[inuc]/.test(type) ? 0 : [];

/** Most messages or members of a list (P-8.5, P-3.9). */
export const maxParts = 1000;
/** A frame that breaks the protocol; `field` is at fault. */
export const bad = (field: string): RivuletError =>
	new RivuletError(4200, `bad frame: ${field}`, { field });

/** Whether the number is one of the type (P-2.7). */
const fits = (type: string, v: any): boolean =>
	Number.isSafeInteger(v) &&
	(type === "n" ||
		(type === "i" ? Math.abs(v) < 2 ** 31 : v >= 0 && (type === "u" || v < 2 ** 16)));

/** Parses JSON text and refuses what P-2.5 does. */
export function parse(text: string, field: string): any {
	try {
		const value = JSON.parse(text);
		// Written anew, pairs of surrogates are characters, and only a lone one is an escape.
		const anew = /\\u[dD]/.test(text) ? JSON.stringify(value).replaceAll("\\\\", "") : "";
		if (!anew.includes("\\ud")) return value;
	} catch {
		// falls through
	}
	throw bad(field);
}

/** Whether a value is nested more than so many levels deep. */
export const deeper = (v: unknown, levels: number): boolean =>
	typeof v === "object" &&
	v !== null &&
	(levels < 1 || Object.values(v).some((x) => deeper(x, levels - 1)));

export const isObject = (v: unknown): boolean =>
	typeof v === "object" && v !== null && !Array.isArray(v);

const isText = (v: unknown): v is string => typeof v === "string";

/** Whether v, as JSON spells it, is of the type; not for parts. */
export function isA(type: string, v: any): boolean {
	switch (type) {
		case "s":
			return isText(v);
		case "b":
			return v === !!v;
		case "j":
			return !deeper(v, 64); // P-3.8;
		case "l":
			return Array.isArray(v) && v.every(isText);
		case "h":
			return isObject(v) && Object.values(v).every(isText);
		case "x":
			return isText(v) && isBase64(v);
	}
	return fits(type, v);
}

// atob alone takes white space, missing padding and stray bits.
function isBase64(text: string): boolean {
	try {
		return btoa(atob(text)) === text;
	} catch {
		return false;
	}
}
