// From the names of the protocol to those of the SDK, and back.

import type { Message } from "./types.js";

/** The message of a `message` event. */
export const toMessage = ({ data_binary: bytes, conflation_key: conflationKey, ...m }: any) =>
	({
		data: undefined,
		...m,
		...(bytes && { bytes }),
		...(conflationKey && { conflationKey }),
	}) as Message<any>;

/** Options as fields of a command: `maxRate` is `max_rate`, and a Date its milliseconds. */
export const toFields = (options: object): any =>
	Object.fromEntries(
		Object.entries(options).map(([name, v]) => [
			name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`),
			v instanceof Date ? v.getTime() : v,
		]),
	);
