// What an application publishes, or asks.

import { toText } from "./json.js";
import { toFields } from "./message.js";
import type { PublishOptions } from "./types.js";

/** A command and how it is treated. */
export interface Ask {
	readonly kind: "publish" | "history" | "presence";
	/** Its body as JSON, but for the bytes. */
	readonly text: string;
	readonly bytes: Uint8Array | undefined;
	/** How much it counts, in bytes or so. */
	readonly size: number;
	/** In milliseconds; that of replies where it is absent. */
	readonly timeout: number | undefined;
	/** Not to wait for a connection. */
	readonly fails: boolean;
	readonly excludeSelf: boolean | undefined;
	readonly signal: AbortSignal | undefined;
}

/** A key that is generated, and its name. */
const keySize = 48;

/** Copies all of it, so that what is sent again is the same. Throws 4400. */
export function toAsk(
	kind: Ask["kind"],
	channel: string,
	options: PublishOptions,
	data?: unknown,
): Ask {
	const usual = kind === "publish" ? 120_000 : undefined;
	const { offline, timeout = usual, signal, excludeSelf, ...fields } = options;
	const bytes = data instanceof Uint8Array ? data.slice() : undefined;
	if (kind === "publish" && !bytes) toText(data); // throws what would be null or absent
	const text = toText({ channel, ...toFields(fields), ...(!bytes && { data }) });
	const size = text.length + (bytes?.length ?? 0) + keySize;
	return { kind, text, bytes, size, timeout, fails: offline === "fail", excludeSelf, signal };
}
