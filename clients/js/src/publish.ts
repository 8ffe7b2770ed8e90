// What an application publishes.

import { toText } from "./json.js";
import { toFields } from "./message.js";
import type { Ask } from "./queue.js";
import type { PublishOptions } from "./types.js";

/** A random key; `crypto.randomUUID` is for pages over https alone. */
const newKey = (): string =>
	crypto.getRandomValues(new Uint32Array(4)).reduce((key, n) => key + n.toString(36), "");

/** Copies all of it, so that what is sent again is the same. Throws 4400. */
export function toPublish(channel: string, data: unknown, options: PublishOptions): Ask {
	const { offline, timeout = 120_000, signal, excludeSelf, ...fields } = options;
	const bytes = data instanceof Uint8Array ? data.slice() : undefined;
	const given = { channel, ...toFields(fields) };
	given.idempotency_key ??= newKey();
	const text = toText(bytes ? given : { ...given, data });
	return {
		kind: "publish",
		reply: "published",
		body: { ...JSON.parse(text), ...(bytes && { data_binary: bytes }) },
		size: text.length + (bytes?.length ?? 0),
		timeout,
		fails: offline === "fail",
		excludeSelf,
		signal,
	};
}
