// What an application publishes, as the command.

import { RivuletError } from "./errors.js";
import { toText } from "./json.js";
import type { Published, PublishOptions } from "./types.js";

/** A publish command and how much it counts in a queue, in bytes or so. */
export interface Draft {
	readonly command: any;
	readonly size: number;
	readonly excludeSelf: boolean;
}

/** Copies `data`, so that what is sent again is the same. Throws 4400. */
export function draft(channel: string, data: unknown, o: PublishOptions): Draft {
	if (o.delay !== undefined && o.deliverAt !== undefined) {
		throw new RivuletError(4400, "delay or deliverAt, not both", { field: "deliver_at" });
	}
	const command: any = { channel };
	let size: number;
	if (data instanceof Uint8Array) {
		command.data_binary = data.slice();
		size = data.length;
	} else {
		const text = toText(data);
		command.data = JSON.parse(text);
		size = text.length;
	}
	const given: Record<string, unknown> = {
		idempotency_key: o.idempotencyKey ?? crypto.randomUUID(),
		headers: o.headers && { ...o.headers },
		ttl: o.ttl,
		deliver_at: o.deliverAt === undefined ? undefined : Number(o.deliverAt),
		delay: o.delay,
		expected_offset: o.expectedOffset,
		conflation_key: o.conflationKey,
		updates: o.updates,
	};
	for (const name in given) if (given[name] !== undefined) command[name] = given[name];
	return { command, size: size + 256, excludeSelf: o.excludeSelf ?? false };
}

/** What `published` tells. */
export function toPublished(channel: string, p: any): Published {
	const { duplicate, offset, position, time, schedule, deliver_at: deliverAt } = p;
	if (schedule !== undefined) return { channel, duplicate, schedule, deliverAt };
	return { channel, duplicate, offset, position, time };
}
