// What the transports over HTTP make of every kind of answer.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { open as openPoll } from "../../src/transport/poll.js";
import { open as openSse, reader } from "../../src/transport/sse.js";
import { type Answer, at, message, page, polled, Stream, said, Told } from "./fake/web.js";

const never = () => new Promise<Response>(() => {});
const hello = (url: URL) => url.search === "?timeout=0";

/** A transport that is connected; `answer` gets all requests after the first. */
async function connected(open: typeof openSse, answer: Answer): Promise<Told> {
	const told = new Told(open, (url, init) => (hello(url) ? polled("") : answer(url, init)));
	await told.settle();
	expect(told.frames).toEqual([{ connected: { client: "", node: "", ping_interval: 30 } }]);
	return told;
}

describe.each([
	["sse", openSse],
	["poll", openPoll],
] as const)("%s: the first answer decides", (_, open) => {
	const first = async (answer: Answer) => (await new Told(open, answer).settle()).ends;

	test("somebody else's is a blocked transport", async () => {
		for (const answer of [() => page(), () => page(404), () => page(451)]) {
			const [end] = await first(answer);
			expect(end).toMatchObject({ code: 1006, blocked: true });
			expect(end?.status).toBeUndefined();
			expect(end?.reason).toContain("text/html");
		}
		const away = () => new Response(null, { status: 302, headers: { location: "http://x" } });
		expect(await first(away)).toMatchObject([{ code: 1006, blocked: true }]);
	});

	test("the node's own no is told with its status", async () => {
		const no = (status: number) => first(() => said(null, status));
		expect(await no(401)).toMatchObject([{ status: 401, temporary: false }]);
		expect(await no(403)).toMatchObject([{ status: 403 }]);
		expect((await no(403))[0]?.blocked).toBeUndefined();
		const later = await first(() => said({ retry_after_ms: 1500 }, 503, { "retry-after": "2" }));
		expect(later).toMatchObject([{ status: 503, retryAfterMs: 1500 }]);
		expect(await first(() => page(502))).toMatchObject([
			{ status: 502, code: 4502, temporary: true },
		]);
	});

	test("Retry-After: seconds, dates by the answer's own clock, and nonsense", async () => {
		const wait = async (after: string, date?: string) => {
			const headers = { "retry-after": after, ...(date && { date }) };
			return (await first(() => said(null, 429, headers)))[0]?.retryAfterMs;
		};
		const now = "Fri, 01 Jan 1999 00:00:00 GMT"; // whatever this machine's clock says
		expect(await wait("7")).toBe(7000);
		expect(await wait("0")).toBe(0);
		expect(await wait("Fri, 01 Jan 1999 00:01:00 GMT", now)).toBe(60_000);
		expect(await wait("Thu, 31 Dec 1998 00:00:00 GMT", now)).toBe(0);
		expect(await wait("Fri, 01 Jan 1999 00:01:00 GMT")).toBe(5000);
		expect(await wait("soon")).toBe(5000);
		expect(await wait("99999999")).toBe(3_600_000);
	});

	test("a broken network, garbage, too much, and nothing at all", async () => {
		const broken = await first(() => Promise.reject(new TypeError("fetch failed")));
		expect(broken).toMatchObject([{ code: 1006 }]);
		expect(broken[0]?.blocked).toBeUndefined();
		const garbage = () =>
			new Response('{"code":', { headers: { "content-type": "application/json" } });
		expect(await first(garbage)).toMatchObject([{ code: 4200, garbled: true }]);
		const endless = new Stream(undefined, "application/json");
		const told = new Told(open, () => endless.response);
		for (let i = 0; i < 40; i++) {
			endless.write(" ".repeat(1 << 20));
			await told.settle();
		}
		expect(told.ends).toMatchObject([{ code: 1009 }]);
		expect(endless.cancelled).toBe(true);
		const silent = new Told(open, never);
		await silent.clock.pass(31_000);
		expect(silent.ends).toMatchObject([{ code: 1006, reason: "no answer in time" }]);
		expect(silent.clock.timers.size).toBe(0);
	});

	test("a request carries the token, and nothing that a browser keeps", async () => {
		const told = new Told(open, () => polled(""), "secret");
		await told.settle();
		const [{ url, init }] = told.requests as [{ url: URL; init: RequestInit }];
		expect(url.href).toBe("http://node.example/rivulet/v1/poll?timeout=0");
		expect(init).toMatchObject({ credentials: "omit", redirect: "manual", cache: "no-store" });
		expect(init.headers).toEqual({ authorization: "Bearer secret" });
		told.transport.close();
	});

	test("who was connected before says so", async () => {
		const told = new Told(open, () => polled(""), undefined, true);
		await told.settle();
		expect(told.requests[0]?.url.search).toBe("?timeout=0&resume=1");
		await told.call({ ping: {} });
		expect(told.requests[1]?.url.search).toBe("?timeout=0");
		told.transport.close();
	});

	test("closed before the answer: nothing is told, nothing is left", async () => {
		const told = new Told(open, never);
		told.transport.close();
		await told.settle();
		await told.clock.pass(100_000);
		expect([told.frames, told.ends, told.clock.timers.size]).toEqual([[], [], 0]);
		expect(told.requests[0]?.init.signal?.aborted).toBe(true);
	});
});

describe("commands", () => {
	const publish = { publish: { channel: "a:b", data: 1 } };
	const error = async (answer: Answer, command: object = publish) => {
		const told = await connected(openPoll, answer);
		return { error: (await told.call(command as any))?.error, ends: told.ends };
	};

	test("a refusal says what the node said", async () => {
		const refusal = new Response(
			JSON.stringify({ code: 413, message: "data: is too large", data: { field: "data" } }),
			{ status: 413, headers: { "content-type": "application/json" } },
		);
		expect(await error(() => refusal)).toEqual({
			error: {
				code: 4413,
				message: "is too large",
				field: "data",
				temporary: false,
				retry_after_ms: 0,
			},
			ends: [],
		});
		const busy = await error(() => said(null, 429, { "retry-after": "3" }));
		expect(busy.error).toMatchObject({ code: 4429, temporary: true, retry_after_ms: 3000 });
	});

	test("of a proxy's own error nobody knows whether the message is stored", async () => {
		for (const status of [500, 502, 503, 504])
			expect((await error(() => page(status))).error).toMatchObject({
				code: 4504,
				temporary: true,
			});
		expect((await error(() => page(413))).error).toMatchObject({ code: 4413, temporary: false });
	});

	test("a bad token, a portal and a broken network end the transport", async () => {
		expect((await error(() => said(null, 401))).ends).toMatchObject([{ status: 401 }]);
		expect((await error(() => page())).ends).toMatchObject([{ blocked: true }]);
		const broken = await error(() => Promise.reject(new TypeError("x")));
		expect(broken.ends).toMatchObject([{ code: 1006 }]);
	});

	test("no answer in time leaves the outcome open", async () => {
		const told = await connected(openPoll, never);
		const reply = told.call(publish);
		await told.clock.pass(31_000);
		await reply;
		expect(told.frames.at(-1)).toMatchObject({ id: 2, error: { code: 4408, temporary: true } });
		expect(told.transport.buffered).toBe(0);
	});

	test("what is no JSON is thrown at once", async () => {
		const told = await connected(openPoll, never);
		expect(() => told.transport.send({ id: 5, publish: { channel: "a", data: 1n } })).toThrow(
			expect.objectContaining({ code: 4400, field: "data" }),
		);
		expect(told.transport.buffered).toBe(0);
	});

	test("a publish waits for the one before it in its channel, also where that fails", async () => {
		const waiting: ((r: Response) => void)[] = [];
		const told = await connected(openPoll, () => new Promise((resolve) => waiting.push(resolve)));
		const send = (id: number, channel: string) =>
			told.transport.send({ id, publish: { channel, data: id, exclude: "" } });
		send(11, "a:a");
		send(12, "a:a");
		send(13, "a:b");
		await told.settle();
		const bodies = () => told.requests.slice(1).map((r) => r.init.body);
		expect(bodies()).toEqual(['{"data":11}', '{"data":13}']);
		expect(told.transport.buffered).toBe(3 * 11);
		waiting[0]?.(said(null, 503));
		await told.settle();
		expect(bodies()).toHaveLength(3);
		waiting[1]?.(
			said({ channel: "a:b", offset: 1, position: at(1), time: 1, duplicate: false }, 201),
		);
		waiting[2]?.(
			said({ channel: "a:a", offset: 1, position: at(1), time: 1, duplicate: false }, 201),
		);
		await told.settle();
		expect(told.frames.slice(1).map((f) => [f.id, f.error?.code ?? f.published.offset])).toEqual([
			[11, 4503],
			[13, 1],
			[12, 1],
		]);
		expect(told.transport.buffered).toBe(0);
	});
});

describe("event streams", () => {
	/** Subscribed to the channels, which stand at 1, and their stream. */
	async function streaming(...channels: string[]): Promise<{ told: Told; streams: Stream[] }> {
		const streams: Stream[] = [];
		const told = await connected(openSse, (url, init) => {
			if (url.pathname.endsWith("/v1/poll")) return polled(at(1));
			const stream = new Stream(init.signal);
			streams.push(stream);
			return stream.response;
		});
		for (const channel of channels) await told.call({ subscribe: { channel } });
		await told.clock.pass(25);
		await told.settle();
		for (const channel of channels) {
			streams[0]?.event("subscribed", { channel, position: at(1), recovered: true });
			streams[0]?.event("caught_up", { channel, position: at(1) });
		}
		await told.settle();
		return { told, streams };
	}

	test("what it says at first of a channel that was subscribed is not told again", async () => {
		const { told, streams } = await streaming("a:a", "a:b");
		expect(streams).toHaveLength(1);
		const { url } = told.requests.at(-1) as { url: URL };
		expect(url.pathname).toBe("/rivulet/v1/events");
		expect(url.searchParams.getAll("channel")).toEqual(["a:a", "a:b"]);
		expect(url.searchParams.getAll("position")).toEqual([at(1), at(1)]);
		expect(told.frames.filter((f) => f.subscribed)).toHaveLength(2);
		expect(told.frames.filter((f) => f.caught_up)).toHaveLength(0);
		streams[0]?.message("a:a", 2, "x");
		streams[0]?.event("caught_up", { channel: "a:a", position: at(2) }); // it was behind
		streams[0]?.event("weather", { sun: true });
		streams[0]?.write(":\n\n");
		await told.settle();
		expect(told.data("a:a")).toEqual(["x"]);
		expect(told.frames.filter((f) => f.caught_up)).toHaveLength(1);
		told.transport.close();
		expect([streams[0]?.cancelled, told.clock.timers.size]).toEqual([true, 0]);
	});

	test("another channel: a new stream, from where each stands", async () => {
		const { told, streams } = await streaming("a:a");
		streams[0]?.message("a:a", 5, "x");
		await told.settle();
		await told.call({ subscribe: { channel: "a:b" } });
		await told.clock.pass(25);
		const { url } = told.requests.at(-1) as { url: URL };
		expect(url.searchParams.getAll("position")).toEqual([at(5), at(1)]);
		expect(streams[0]?.cancelled).toBe(true);
		streams[1]?.event("subscribed", {
			channel: "a:a",
			position: at(9),
			recovered: false,
			reason: "retention",
		});
		await told.settle();
		expect(told.frames.at(-1)?.gap).toMatchObject({ channel: "a:a", reason: "retention" });
		await told.call({ unsubscribe: { channel: "a:a" } });
		streams[1]?.message("a:a", 10, "late");
		await told.settle();
		expect(told.data("a:a")).toEqual(["x"]);
		told.transport.close();
	});

	test("one with presence goes on without what tells of it", async () => {
		const { told, streams } = await streaming();
		const reply = await told.call({ subscribe: { channel: "a:a", presence: true } });
		expect(reply).toMatchObject({ subscribed: { channel: "a:a", recovered: true } });
		await told.clock.pass(25);
		await told.settle();
		expect(told.requests.at(-1)?.url.search).not.toContain("presence");
		streams[0]?.message("a:a", 2, "x");
		await told.settle();
		expect(told.data("a:a")).toEqual(["x"]);
		for (const field of ["durable", "token"]) {
			const no = await told.call({ subscribe: { channel: "a:b", [field]: true } });
			expect(no?.error).toMatchObject({ code: 4422, field });
		}
		told.transport.close();
	});

	test("kept back: no answer, or nothing after its head", async () => {
		for (const answer of [never, (_: URL, init: RequestInit) => new Stream(init.signal).response]) {
			const told = await connected(openSse, (url, init) =>
				url.pathname.endsWith("/v1/poll") ? polled(at(1)) : answer(url, init),
			);
			await told.call({ subscribe: { channel: "a:a" } });
			await told.clock.pass(4900);
			expect(told.ends).toEqual([]);
			await told.clock.pass(200);
			expect(told.ends).toMatchObject([{ code: 1006, blocked: true }]);
			expect(told.clock.timers.size).toBe(0);
		}
	});

	test("one that something in between refuses, or cuts at once, is blocked; one cut later is not", async () => {
		const { told: soon, streams } = await streaming("a:a");
		streams[0]?.end();
		expect((await soon.settle()).ends).toMatchObject([{ code: 1006, blocked: true }]);
		const { told: late, streams: more } = await streaming("a:a");
		await late.clock.pass(6_000);
		more[0]?.end();
		expect((await late.settle()).ends).toMatchObject([{ code: 1006, blocked: false }]);
		const refused = async (answer: () => Response) => {
			const told = await connected(openSse, (url) =>
				url.pathname.endsWith("/v1/poll") ? polled(at(1)) : answer(),
			);
			await told.call({ subscribe: { channel: "a:a" } });
			await told.clock.pass(25);
			return (await told.settle()).ends;
		};
		expect(await refused(() => page(502))).toMatchObject([{ code: 1006, blocked: true }]);
		const [full] = await refused(() => said(null, 503));
		expect(full).toMatchObject({ status: 503 });
		expect(full?.blocked).toBeUndefined();
	});

	test("its ends: disconnect, the body's end, a page, garbage, too much", async () => {
		const end = async (run: (s: Stream) => void | Promise<void>) => {
			const { told, streams } = await streaming("a:a");
			await run(streams[0] as Stream);
			await told.settle();
			return { end: told.ends[0], last: told.frames.at(-1) };
		};
		const disconnect = { code: 4000, reason: "stopping", reconnect: true, retry_after_ms: 70 };
		const told = await end((s) => s.event("disconnect", disconnect));
		expect(told.end).toEqual({ code: 4000, reason: "stopping", retryAfterMs: 70 });
		expect(told.last).toEqual({ disconnect });
		expect((await end((s) => s.end())).end).toMatchObject({ code: 1006 });
		expect((await end((s) => s.write("data: {\n\n"))).end).toMatchObject({ garbled: true });
		expect((await end((s) => s.write('data: {"offset":-1}\n\n'))).end).toMatchObject({
			code: 4200,
		});
		const flood = await end((s) => {
			for (let i = 0; i < 40; i++) s.write(`data: ${"x".repeat(1 << 20)}`);
		});
		expect(flood.end).toMatchObject({ code: 1009 });
		const portal = await connected(openSse, (url) =>
			url.pathname.endsWith("/v1/poll") ? polled(at(1)) : page(),
		);
		await portal.call({ subscribe: { channel: "a:a" } });
		await portal.clock.pass(25);
		await portal.settle();
		expect(portal.ends).toMatchObject([{ code: 1006, blocked: true }]);
	});

	test("expiring is told once for a token", async () => {
		const { told, streams } = await streaming("a:a");
		streams[0]?.event("expiring", { in_ms: 20_000 });
		streams[0]?.event("expiring", { in_ms: 19_000 });
		await told.settle();
		expect(told.frames.filter((f) => f.expiring)).toHaveLength(1);
		await told.call({ refresh: { token: "new" } });
		expect(told.frames.at(-1)).toMatchObject({ connected: {} });
		expect(told.requests.at(-1)?.init.headers).toEqual({ authorization: "Bearer new" });
		streams[1]?.event("expiring", { in_ms: 20_000 });
		await told.settle();
		expect(told.frames.filter((f) => f.expiring)).toHaveLength(2);
		told.transport.close();
	});

	test("one that is silent is begun anew: after a sleep, and while others are not", async () => {
		const { told, streams } = await streaming("a:a");
		told.clock.sleep(70_000);
		told.transport.send({ ping: {} });
		await told.settle();
		expect(told.frames.at(-1)).toEqual({ pong: {} });
		expect(streams).toHaveLength(2);
		// Another group, by its filter, that goes on.
		await told.call({ subscribe: { channel: "a:b", filter: "true" } });
		await told.clock.pass(25);
		expect(streams).toHaveLength(3);
		for (let i = 0; i < 4; i++) {
			told.clock.sleep(24_000);
			streams[2]?.write(":\n\n");
			await told.settle();
		}
		expect(streams).toHaveLength(4);
		expect(streams.map((s) => s.cancelled)).toEqual([true, true, false, false]);
		told.transport.close();
	});

	test("a stream is read the same however it is cut", () => {
		const line = fc.constantFrom(
			"event: gap",
			"data: {}",
			"data:x",
			"data",
			": c",
			"id: 1",
			"",
			"é",
		);
		const end = fc.constantFrom("\n", "\r\n", "\r");
		const body = fc.array(fc.tuple(line, end), { maxLength: 30 });
		fc.assert(
			fc.property(body, fc.array(fc.nat(60), { maxLength: 20 }), (lines, cuts) => {
				const text = `${lines.flat().join("")}data: last\n\n`;
				const read = (parts: string[]) => {
					const events: string[][] = [];
					const feed = reader((name, data) => events.push([name, data]));
					for (const part of parts) feed(part);
					return events;
				};
				const places = [0, ...cuts.map((c) => c % text.length), text.length].sort((a, b) => a - b);
				const parts = places.slice(1).map((to, i) => text.slice(places[i], to));
				expect(read(parts)).toEqual(read([text]));
				expect(read([text]).at(-1)?.[1]).toContain("last");
			}),
			{ numRuns: 1000 },
		);
	});
});

describe("polls", () => {
	test("what is lost is said of the channel that lost it", async () => {
		let lost = false;
		const told = await connected(openPoll, (url) => {
			const channels = url.searchParams.getAll("channel");
			const held = url.searchParams.get("timeout") !== "0";
			if (held && lost) return never();
			if (held) {
				lost = true;
				return polled("T", [message("a:a", 7, "x")], { recovered: false, reason: "purged" });
			}
			if (!lost) return polled(at(1));
			if (channels[0] === "a:a") return polled(at(7), [message("a:a", 7, "x")]);
			return polled(at(9), [message("a:b", 9, "y")], { recovered: false, reason: "purged" });
		});
		await told.call({ subscribe: { channel: "a:a" } });
		await told.call({ subscribe: { channel: "a:b" } });
		await told.clock.pass(25);
		await told.settle();
		expect(told.frames.filter((f) => f.gap).map((f) => f.gap.channel)).toEqual(["a:b"]);
		expect([told.data("a:a"), told.data("a:b")]).toEqual([["x"], ["y"]]);
		const { url } = told.requests.at(-1) as { url: URL };
		expect(url.searchParams.getAll("position")).toEqual([at(7), at(9)]);
		told.transport.close();
		await told.settle();
		expect(told.clock.timers.size).toBe(0);
	});

	test("one who answers with nothing at once is not asked without end", async () => {
		const told = await connected(openPoll, () => polled(at(1)));
		await told.call({ subscribe: { channel: "a:a" } });
		await told.clock.pass(10_000);
		expect(told.requests.length).toBeLessThan(15);
		told.transport.close();
		await told.settle();
		expect(told.clock.timers.size).toBe(0);
	});

	test("the token of a poll is given back as long as the channels are the same", async () => {
		let n = 0;
		const told = await connected(openPoll, (url) => {
			if (url.searchParams.get("timeout") === "0") return polled(at(1));
			return ++n > 2 ? never() : polled(`token${n}`, [message("a:a", n + 1, n)]);
		});
		await told.call({ subscribe: { channel: "a:a" } });
		await told.call({ subscribe: { channel: "a:b" } });
		await told.clock.pass(25);
		await told.settle();
		const asked = told.requests.filter((r) => r.url.searchParams.get("timeout") === "25");
		expect(asked.map((r) => r.url.searchParams.getAll("position"))).toEqual([
			[at(1), at(1)],
			["token1"],
			["token2"],
		]);
		expect(told.data("a:a")).toEqual([1, 2]);
		told.transport.close();
	});

	test("a channel that is refused later ends, and the others go on", async () => {
		let narrowed = false;
		const told = await connected(openPoll, (url) => {
			const channels = url.searchParams.getAll("channel");
			if (narrowed && channels.includes("a:b")) return said({ field: "channel" }, 403);
			if (url.searchParams.get("timeout") === "0") return polled(at(1));
			if (channels.length === 1) return never();
			narrowed = true;
			return said({ field: "channel" }, 403);
		});
		await told.call({ subscribe: { channel: "a:a" } });
		await told.call({ subscribe: { channel: "a:b" } });
		await told.clock.pass(25);
		await told.settle();
		expect(told.frames.at(-1)?.unsubscribed).toMatchObject({ channel: "a:b", code: 4700 });
		expect(told.requests.at(-1)?.url.searchParams.getAll("channel")).toEqual(["a:a"]);
		expect(told.ends).toEqual([]);
		told.transport.close();
	});

	test("unsubscribed while it begins; and more patterns than there is room for", async () => {
		let late: ((r: Response) => void) | undefined;
		const told = await connected(openPoll, () => new Promise((resolve) => (late = resolve)));
		await told.call({ subscribe: { channel: "a:a" } });
		await told.call({ unsubscribe: { channel: "a:a" } });
		late?.(polled(at(1), [message("a:a", 1, "x")]));
		await told.settle();
		expect(told.frames.slice(1)).toMatchObject([
			{ unsubscribed: {} },
			{ id: 2, error: { code: 4409 } },
		]);
		for (const n of [1, 2, 3, 4]) await told.call({ subscribe: { channel: `a:${n}.*` } });
		const fifth = await told.call({ subscribe: { channel: "a:5.*" } });
		expect(fifth?.error).toMatchObject({ code: 4422, field: "channel" });
		told.transport.close();
	});
});
