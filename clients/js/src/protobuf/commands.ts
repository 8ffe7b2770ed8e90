// The commands of protocol/rivulet.proto, as schema.ts has the events.

import { type Table, tables } from "../schema.js";

export const commands: Map<string, Table> = /* @__PURE__ */ tables({
	connect: "token name version session",
	subscribe:
		"channel position positions:l last:i since:n durable:b group max_in_flight:i filter conflate max_rate:i presence:b token",
	unsubscribe: "channel",
	publish:
		"channel data:j? data_binary:x? idempotency_key:s? headers:h ttl:n deliver_at:n delay:n expected_offset:u? exclude conflation_key updates:u",
	ack: "channel offset:u position token",
	history: "channel after before since:n limit:i order fold",
	presence: "channel limit:i after counts:b",
	refresh: "token",
	ping: "",
	pong: "",
	nak: "channel token delay:n reason",
	in_progress: "channel token",
});
