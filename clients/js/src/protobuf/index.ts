// The codec of the subprotocol rivulet.v1.protobuf (PROTOCOL.md, section 10).

import { bad, events } from "../schema.js";
import type { Codec, Frame } from "../types.js";
import { commands } from "./commands.js";
import { readFrame } from "./reader.js";
import { writeFrame } from "./writer.js";

/**
 * Protobuf: smaller frames than JSON, and bytes without base64. Give it as `codec`:
 * `new Client(url, { codec: protobuf })`.
 */
export const protobuf: Codec = {
	protocol: "rivulet.v1.protobuf",
	encode: (frame: Frame): Uint8Array => writeFrame(commands, frame),
	decode(data: string | ArrayBuffer): Frame {
		if (typeof data === "string") throw bad("frame");
		return readFrame(events, new Uint8Array(data));
	},
};
