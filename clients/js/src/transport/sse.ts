// The transport over Server-Sent Events: PROTOCOL.md, section 9. By fetch, since an EventSource
// can send no token and says nothing of why it was refused.

import { json } from "../json.js";
import type { OpenTransport } from "../types.js";
import { Failure, mostText, pump, tooLarge } from "./answer.js";
import { channels, type Follow, positions, type Sub, type Subs } from "./follow.js";
import { Http } from "./http.js";
import type { Read } from "./requests.js";

/** Milliseconds in which a stream begins: its channels were just polled, and a node says something at once. */
const mostDelay = 5_000;

const follow: Follow = async (subs, group, list, until) => {
	const { clock } = subs.requests;
	const on = events(subs, list);
	const path = `/v1/events?${(channels(list) + positions(list)).slice(1)}`;
	const asked = clock.now();
	let begun = false;
	const stream: Read<void> = async (r, signal, hurry) => {
		const feed = reader(on);
		await pump(r, signal, (text) => {
			hurry();
			begun = true;
			subs.alive(group);
			feed(text);
		});
	};
	try {
		await subs.requests.request(path, "text/event-stream", stream, { ms: mostDelay, until });
	} catch (e) {
		// The node answers, but this does not come: something in between keeps it, or says so (4504).
		if (begun || !(e instanceof Failure && [4408, 4504].includes(e.error?.code))) throw e;
		throw new Failure({ code: 1006, reason: "the event stream is kept back", blocked: true });
	}
	// A node that ends one says `disconnect`; what cuts them all at once lets none through.
	const blocked = clock.now() - asked < mostDelay;
	throw new Failure({ code: 1006, reason: "the event stream has ended", blocked });
};

/** Hands on the events of a stream of `list`. */
function events(subs: Subs, list: Sub[]): (name: string, data: string) => void {
	// What it says of each at first is of this stream, not of the subscription.
	const opening = new Set(
		list.flatMap((s) => [`subscribed ${s.channel}`, `caught_up ${s.channel}`]),
	);
	return (name, data) => {
		const frame = json.decode(`{${JSON.stringify(name)}:${data}}`);
		const body = frame[name];
		if (!body) return;
		if (name === "disconnect") {
			subs.tell(frame);
			throw new Failure({
				code: body.code,
				reason: body.reason,
				retryAfterMs: body.retry_after_ms,
			});
		}
		if (name === "expiring") subs.tell(frame);
		else if (!opening.delete(`${name} ${body.channel}`)) subs.deliver(list, name, body);
		else if (name === "subscribed" && !body.recovered) subs.deliver(list, "gap", body);
	};
}

/** Streams. */
export const open: OpenTransport = (options, sink) => new Http(options, sink, follow);

/** Reads an event stream (WHATWG HTML, 9.2): `on` is called with each event's name and data. */
export function reader(on: (name: string, data: string) => void): (text: string) => void {
	let rest = "";
	let name = "";
	let data = "";
	const line = (text: string) => {
		const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(text) ?? [];
		if (!text) {
			const [n, d] = [name || "message", data];
			name = data = "";
			if (d) on(n, d.slice(0, -1));
		} else if (field === "event") name = value;
		else if (field === "data") data += `${value}\n`;
	};
	return (text) => {
		rest += text;
		if (rest.length + data.length > mostText) throw tooLarge();
		if (!/[\r\n]/.test(text)) return;
		// A CR at the end may be half of a line end.
		const lines = rest.split(/\r\n|\n|\r(?!$)/);
		rest = lines.pop() ?? "";
		for (const each of lines) line(each);
	};
}
