// What is wrong with what an application gives is said at once, in a language without types too.

import { RivuletError } from "./errors.js";
import type { ClientOptions, TransportName } from "./types.js";

export const wrong = (field: string, text: string): RivuletError =>
	new RivuletError(4400, `${field}: ${text}`, { field });

/** http or https, without a slash at the end. */
export function baseOf(url: string): string {
	const [, rest] = /^(?:http|ws)(s?:\/\/[^?#@]+?)\/*$/.exec(url) ?? [];
	if (rest && !rest.endsWith("/v1/ws")) return `http${rest}`;
	throw wrong("url", `${url} must be like https://host/path, without /v1/ws`);
}

/** Whether there is one to use: Node has it from 22 on. */
export const hasWebSocket = (o: ClientOptions): boolean => !!(o.WebSocket ?? globalThis.WebSocket);

/**
 * Which to use. Where there is no WebSocket the others come first; one that is asked for alone is
 * refused when it is opened, not here: pages are rendered on servers too, where nothing connects.
 */
export function transportsOf(o: ClientOptions): readonly TransportName[] {
	const known: TransportName[] = ["websocket", "sse", "poll"];
	// A session is a WebSocket's alone.
	const given = o.transports ?? (o.session ? ["websocket"] : known);
	if (!given.length || given.some((name) => !known.includes(name)))
		throw wrong("transports", `must be of ${known.join(", ")}`);
	const there = given.filter((name) => name !== "websocket" || hasWebSocket(o));
	return there.length ? there : given;
}

/** A cluster's part of a storage, which pages of one origin may share for several. */
export const prefixOf = (base: string): string => `rivulet:${base.replace(/^\w+:\/\//, "")}:`;
