// From the names of the protocol to those of the SDK, and back.

import { toText } from "./json.js";
import type { Message } from "./types.js";

/** The message of a `message` event. */
export const toMessage = ({ data_binary: bytes, conflation_key: conflationKey, ...m }: any) =>
	({
		data: undefined,
		...m,
		...(bytes && { bytes }),
		...(conflationKey && { conflationKey }),
	}) as Message<any>;

/**
 * Options as fields of a command: `maxRate` is `max_rate`, and a Date its milliseconds. Throws 4400
 * where a number is none: as null it would count as absent.
 */
export const toFields = (options: object): any =>
	Object.fromEntries(
		Object.entries(options).map(([name, v]) => {
			if (v instanceof Date) v = v.getTime();
			if (typeof v === "number") toText(v, name);
			return [name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), v];
		}),
	);
