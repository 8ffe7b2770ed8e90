// Long polls of a node in memory (PROTOCOL.md, P-9.5).

import type { FakeClock } from "./clock.js";
import { covers, type FakeNode } from "./node.js";
import { said } from "./web.js";

/** Most messages of an answer. */
const most = 4;

/** By channel, the offset of each stream up to which all was had. */
type Places = Record<string, Record<string, string>>;

/** How a client asks the node over HTTP, where `through` says so. */
export function polling(node: FakeNode, clock: FakeClock, through: () => boolean): typeof fetch {
	return (input, init) =>
		new Promise((resolve, reject) => {
			const { searchParams: asked } = new URL(String(input));
			const channels = asked.getAll("channel");
			const until = clock.now() + Number(asked.get("timeout")) * 1000;
			let timer: unknown;
			const end = (error: unknown) => {
				clock.clearTimeout(timer);
				reject(error);
			};
			init?.signal?.addEventListener("abort", () => end(init.signal?.reason));
			const look = () => {
				if (!through()) return end(new TypeError("Failed to fetch"));
				const answer = read(node, channels, start(node, channels, asked.getAll("position")));
				const done = answer.messages.length > 0 || !answer.recovered || clock.now() >= until;
				if (done) resolve(said(answer));
				else timer = clock.setTimeout(look, 10);
			};
			timer = clock.setTimeout(look, 2);
		});
}

function start(node: FakeNode, channels: string[], given: string[]): Places {
	const [token = ""] = given;
	if (token.startsWith("{")) return JSON.parse(token);
	const streams = (channel: string) =>
		node.streamsOf(channel).map((stream, _, all): [string, string] => {
			const mine = (given[channels.indexOf(channel)] ?? "").split(",").filter(Boolean);
			const at = all.length === 1 ? mine[0] : mine.find((p) => p.startsWith(stream.key));
			return [stream.key, at ?? stream.position(stream.last)];
		});
	return Object.fromEntries(channels.map((c) => [c, Object.fromEntries(streams(c))]));
}

function read(node: FakeNode, channels: string[], places: Places) {
	const messages: object[] = [];
	let [recovered, reason, more] = [true, "", false];
	for (const channel of channels) {
		for (const stream of node.streamsOf(channel)) {
			const at = places[channel] as Record<string, string>;
			let offset = stream.offset(at[stream.key] as string) ?? -1;
			if (offset < stream.trimmed) {
				[recovered, reason] = [false, offset < 0 ? "log_changed" : "retention"];
				offset = stream.trimmed;
			}
			for (const e of stream.entries.filter((x) => x.seq > offset)) {
				const mine = covers(channel, e.channel);
				more ||= mine && messages.length >= most;
				if (more) break;
				offset = e.seq;
				const position = stream.position(offset);
				if (mine) messages.push({ channel: e.channel, offset, position, time: 1, data: e.data });
			}
			at[stream.key] = stream.position(offset);
		}
	}
	const [first = ""] = channels;
	const position =
		channels.length > 1 ? JSON.stringify(places) : Object.values(places[first] ?? {}).join();
	return { messages, position, recovered, ...(reason && { reason }), more };
}
