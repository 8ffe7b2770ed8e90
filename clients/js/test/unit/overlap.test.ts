// Subscriptions that match the same messages (PROTOCOL.md, P-4.4, P-5.6, P-5.7).

import { describe, expect, test } from "vitest";
import type { Subscription } from "../../src/index.js";
import { isPattern } from "../../src/names.js";
import { matches, overlaps } from "../../src/overlap.js";
import "../../src/transport/poll.js";
import { settled } from "./fake/clock.js";
import { connected, type Setup, setup } from "./fake/setup.js";
import { polled } from "./fake/web.js";

const at = (n: number, epoch = "001") => `s0AAA${epoch}-${n.toString(36)}-x`;
const busy = { error: { code: 4503, message: "", temporary: true, retry_after_ms: 60_000 } };
const message = (n: number, channel: string, epoch?: string) => ({
	message: { channel, offset: n, position: at(n, epoch), time: 1, data: n },
});

function collect(all: Setup, name: string, options = {}): { sub: Subscription; got: unknown[] } {
	const got: unknown[] = [];
	const sub = all.client.channel(name).subscribe(options, {
		message: (m) => got.push(m.data),
		update: (u) => u.type === "gap" && got.push("gap"),
	});
	return { sub, got };
}

function begin(all: Setup, channel: string, n: number, more: object = {}): any {
	const places = isPattern(channel) ? { positions: [at(n)] } : { position: at(n) };
	const event = { subscribed: { channel, ...places, recovered: true, ...more } };
	return all.network.socket.answer("subscribe", event).subscribe;
}

async function reconnect(all: Setup): Promise<void> {
	all.network.socket.drop();
	await all.clock.pass(250);
	all.network.socket.greet();
}

describe("whose a message is", () => {
	test("the channel's own subscription's, if it lies after its beginning", async () => {
		const all = await connected();
		const own = collect(all, "t:a");
		begin(all, "t:a", 5);
		const pattern = collect(all, "t:>", { positions: [at(2)] });
		begin(all, "t:>", 2);
		for (const n of [3, 5, 6, 7]) all.network.socket.push(message(n, "t:a"));
		all.network.socket.push(message(8, "t:b"));
		await settled();
		expect(own.got).toEqual([6, 7]);
		expect(pattern.got).toEqual([3, 5, 8]);
		await reconnect(all);
		expect(begin(all, "t:a", 7).position).toBe(at(7));
		expect(begin(all, "t:>", 8).positions).toEqual([at(8)]);
		all.client.close();
	});

	test("of a log that began anew, the own one's, whatever its offset", async () => {
		const all = await connected();
		const own = collect(all, "t:a");
		begin(all, "t:a", 5);
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 5);
		all.network.socket.push({
			gap: { channel: "t:a", position: at(0, "002"), reason: "log_changed" },
		});
		all.network.socket.push(message(1, "t:a", "002"));
		await settled();
		expect(own.got).toEqual(["gap", 1]);
		expect(pattern.got).toEqual([]);
		all.client.close();
	});

	test("after a gap, of messages behind it", async () => {
		const all = await connected();
		const own = collect(all, "t:a");
		begin(all, "t:a", 5);
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 5);
		all.network.socket.push({ gap: { channel: "t:a", position: at(9), reason: "retention" } });
		all.network.socket.push(message(8, "t:a")); // the pattern lies behind and has it
		all.network.socket.push(message(10, "t:a"));
		await settled();
		expect(own.got).toEqual(["gap", 10]);
		expect(pattern.got).toEqual([8]);
		all.client.close();
	});

	test("after a gap of a pattern, its own again", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 0);
		all.network.socket.push(message(2, "t:a"));
		await reconnect(all);
		begin(all, "t:>", 1, { recovered: false, reason: "retention" });
		all.network.socket.push(message(2, "t:a"));
		await settled();
		expect(pattern.got).toEqual([2, "gap", 2]);
		all.client.close();
	});

	test("one that the token brought moves no pattern", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 0);
		const brought = { channel: "t:a", position: at(0), recovered: true };
		all.network.socket.push({ subscribed: brought });
		all.network.socket.push(message(1, "t:b"));
		all.network.socket.push(message(9, "t:a")); // its cursor may be ahead
		await settled();
		expect(pattern.got).toEqual([1, 9]);
		await reconnect(all);
		expect(begin(all, "t:>", 0).positions).toEqual([at(0)]);
		all.client.close();
	});

	test("channels are asked for first, and patterns when those have begun", async () => {
		const all = await connected();
		collect(all, "t:>");
		begin(all, "t:>", 0);
		collect(all, "t:a");
		begin(all, "t:a", 0);
		await reconnect(all);
		expect(all.network.socket.sent.map((f) => f.subscribe?.channel)).toEqual(["t:a"]);
		begin(all, "t:a", 0);
		expect(all.network.socket.sent.map((f) => f.subscribe?.channel)).toEqual(["t:>"]);
		all.client.close();
	});

	test("what another pattern had on an earlier link does not come twice", async () => {
		const all = await connected();
		const first = collect(all, "t:*");
		begin(all, "t:*", 0);
		const second = collect(all, "t:>");
		begin(all, "t:>", 0);
		all.network.socket.push(message(1, "t:a")); // the first's, which moves that one alone
		await reconnect(all);
		// The first is turned down, so the second begins first here and has what follows.
		all.network.socket.answer("subscribe", {
			error: { code: 4503, message: "", temporary: true, retry_after_ms: 60_000 },
		});
		begin(all, "t:>", 0);
		all.network.socket.push(message(1, "t:a")); // again: the node does not know
		all.network.socket.push(message(2, "t:a"));
		await settled();
		expect(first.got).toEqual([1]);
		expect(second.got).toEqual([2]);
		all.client.close();
	});

	test("what came after is no proof of what came before", async () => {
		const all = await connected();
		const first = collect(all, "t:*");
		begin(all, "t:*", 0);
		const second = collect(all, "t:>");
		begin(all, "t:>", 0);
		all.network.socket.push(message(4, "t:b.c")); // for the second alone
		await reconnect(all);
		all.network.socket.answer("subscribe", {
			error: { code: 4503, message: "", temporary: true, retry_after_ms: 60_000 },
		});
		begin(all, "t:>", 4);
		all.network.socket.push(message(5, "t:a"));
		await reconnect(all);
		begin(all, "t:*", 0);
		begin(all, "t:>", 5);
		all.network.socket.push(message(3, "t:a")); // the first's, and nobody had it
		all.network.socket.push(message(5, "t:a")); // the second had it
		await settled();
		expect(first.got).toEqual([3]);
		expect(second.got).toEqual([4, 5]);
		all.client.close();
	});
});

describe("what is no proof that one was had", () => {
	test.each(["t:*", "t:a"])("what came before and after, to %s", async (name) => {
		const all = await connected();
		const first = collect(all, name);
		begin(all, name, 10);
		const second = collect(all, "t:>", { positions: [at(0)] });
		begin(all, "t:>", 0);
		all.network.socket.push(message(5, "t:a")); // the second's: the first began later
		all.network.socket.push(message(20, "t:b.c")); // past what was the first's and is lost
		await reconnect(all);
		all.network.socket.answer("subscribe", busy);
		begin(all, "t:>", 20);
		all.network.socket.push(message(25, "t:a"));
		await reconnect(all);
		begin(all, name, 10);
		begin(all, "t:>", 25);
		for (const n of [12, 25, 26]) all.network.socket.push(message(n, "t:a"));
		await settled();
		expect(second.got).toEqual([5, 20, 25]);
		expect(first.got).toEqual([12, 26]);
		all.client.close();
	});

	test("what one had behind it that another owes when it ends", async () => {
		const all = await connected();
		const first = collect(all, "t:*");
		begin(all, "t:*", 10);
		const second = collect(all, "t:>");
		begin(all, "t:>", 10);
		await settled();
		all.network.socket.push(message(20, "t:b.c"));
		await reconnect(all);
		all.network.socket.answer("subscribe", busy);
		begin(all, "t:>", 20);
		all.network.socket.push(message(25, "t:a"));
		await reconnect(all);
		begin(all, "t:*", 10);
		begin(all, "t:>", 25);
		void first.sub.unsubscribe(); // and 12 is still the first's
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:*" } });
		// The second began behind it: it has to begin anew where the first was.
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:>" } });
		expect(begin(all, "t:>", 10).positions).toEqual([at(10)]);
		for (const n of [12, 25, 26]) all.network.socket.push(message(n, "t:a"));
		await settled();
		expect(second.got).toEqual([20, 25, 12, 26]);
		all.client.close();
	});

	test("what waited of a pattern that ended, to a durable one that has had later ones", async () => {
		const all = await connected({ session: "s" }, { session: "s" });
		const handed: unknown[] = [];
		const pattern = all.client.channel("t:>").subscribe();
		void (async () => {
			for await (const m of pattern) {
				handed.push(m.data);
				await new Promise(() => {}); // it is at that one still
			}
		})();
		await settled();
		begin(all, "t:>", 0);
		for (const n of [1, 2, 3]) all.network.socket.push(message(n, "t:a"));
		await settled();
		const own = collect(all, "t:a", { durable: true, last: 5 });
		await settled();
		begin(all, "t:a", 0, { durable: true, resumed: false });
		all.network.socket.push(message(4, "t:a")); // the node keeps from it what the pattern has
		await settled();
		void pattern.unsubscribe();
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:>" } });
		expect(all.network.socket.closedWith).toBeDefined(); // a new connection reads again
		await all.clock.pass(250);
		all.network.socket.greet({ session: "s" });
		await settled();
		begin(all, "t:a", 0, { durable: true, resumed: true });
		for (const n of [1, 2, 3, 4, 5]) all.network.socket.push(message(n, "t:a"));
		await settled();
		expect(handed).toEqual([1]);
		expect(own.got).toEqual([4, 2, 3, 5]);
		all.client.close();
	});

	test("what came to one that was ended before it had begun", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 0);
		const own = collect(all, "t:a");
		void own.sub.unsubscribe();
		begin(all, "t:a", 4);
		all.network.socket.push(message(5, "t:a"));
		all.network.socket.push(message(6, "t:b"));
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:a" } });
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:>" } });
		expect(begin(all, "t:>", 4).positions).toEqual([at(4)]);
		all.network.socket.push(message(5, "t:a"));
		all.network.socket.push(message(6, "t:b"));
		await settled();
		expect(pattern.got).toEqual([6, 5]);
		all.client.close();
	});

	test("what waited of a log that began anew", async () => {
		const all = await connected();
		const second = collect(all, "t:>");
		begin(all, "t:>", 30);
		const own = all.client.channel("t:a").subscribe();
		begin(all, "t:a", 30);
		for (const channel of ["t:a", "t:>"])
			all.network.socket.push({
				gap: { channel, position: at(0, "002"), reason: "log_changed" },
			});
		all.network.socket.push(message(2, "t:a", "002"));
		all.network.socket.push(message(5, "t:b", "002"));
		void own.unsubscribe();
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:a" } });
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:>" } });
		const { positions } = all.network.socket.answer("subscribe", {
			subscribed: { channel: "t:>", positions: [at(0, "002")], recovered: true },
		}).subscribe;
		expect(positions).toEqual([at(0, "002")]);
		for (const n of [2, 6]) all.network.socket.push(message(n, "t:a", "002"));
		await settled();
		expect(second.got).toEqual(["gap", 5, 2, 6]);
		all.client.close();
	});

	test("what one with a filter had", async () => {
		const all = await connected();
		const first = collect(all, "t:*");
		all.network.socket.answer("subscribe", busy);
		collect(all, "t:>", { filter: "user != ''" });
		begin(all, "t:>", 0);
		all.network.socket.push(message(5, "t:a"));
		await reconnect(all);
		begin(all, "t:*", 0);
		begin(all, "t:>", 5);
		all.network.socket.push(message(3, "t:a"));
		await settled();
		expect(first.got).toEqual([3]);
		all.client.close();
	});

	test("what one had of another log", async () => {
		const all = await connected();
		collect(all, "t:>");
		begin(all, "t:>", 0);
		for (const n of [5, 6]) all.network.socket.push(message(n, "t:a"));
		const late = collect(all, "t:*");
		all.network.socket.answer("subscribe", busy);
		await reconnect(all);
		all.network.socket.answer("subscribe", busy);
		all.network.socket.answer("subscribe", {
			subscribed: { channel: "t:*", positions: [at(0, "002")], recovered: true },
		});
		all.network.socket.push(message(5, "t:a", "002"));
		await settled();
		expect(late.got).toEqual([5]);
		all.client.close();
	});

	test("what another of the log before had, of one that begins anew without a word", async () => {
		const all = await connected();
		const own = collect(all, "t:a");
		begin(all, "t:a", 0);
		all.network.socket.push(message(5, "t:a"));
		all.network.socket.push(message(4, "t:a", "002"));
		await settled();
		expect(own.got).toEqual([5, 4]);
		all.client.close();
	});
});

describe("what the token brought", () => {
	const bring = ({ network }: Setup, channel: string, n: number) => {
		const places = isPattern(channel) ? { positions: [at(n)] } : { position: at(n) };
		network.socket.push({ subscribed: { channel, ...places, recovered: true } });
	};
	const end = ({ network }: Setup, channel: string) =>
		network.socket.answer("unsubscribe", { unsubscribed: { channel } });

	test("hides nothing behind it, and is let go of", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 0);
		bring(all, "t:a", 7);
		all.network.socket.push(message(9, "t:a")); // its cursor is ahead
		all.network.socket.push(message(5, "t:a"));
		all.network.socket.push(message(6, "t:b"));
		end(all, "t:a");
		all.network.socket.push(message(11, "t:b"));
		end(all, "t:>");
		expect(begin(all, "t:>", 0).positions).toEqual([at(0)]); // 8 may be missing
		for (const n of [5, 8, 9]) all.network.socket.push(message(n, "t:a"));
		for (const n of [6, 11, 12]) all.network.socket.push(message(n, "t:b"));
		await settled();
		expect(pattern.got).toEqual([9, 6, 5, 8, 11, 12]);
		all.client.close();
		expect(all.clock.timers.size).toBe(0);
	});

	test("before one has begun is not lost to that", async () => {
		const all = await connected();
		bring(all, "t:>", 20);
		const own = collect(all, "t:a", { position: at(12) });
		all.network.socket.push(message(21, "t:a")); // nobody is there yet
		begin(all, "t:a", 12);
		all.network.socket.push(message(22, "t:a"));
		end(all, "t:>");
		end(all, "t:a");
		expect(begin(all, "t:a", 12).position).toBe(at(12));
		for (const n of [21, 22, 23]) all.network.socket.push(message(n, "t:a"));
		await settled();
		expect(own.got).toEqual([22, 21, 23]);
		all.client.close();
	});

	test("and the link was lost before it was let go of", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 3);
		bring(all, "t:a", 7);
		all.network.socket.push(message(9, "t:b"));
		await reconnect(all);
		expect(begin(all, "t:>", 3).positions).toEqual([at(3)]);
		for (const n of [8, 10]) all.network.socket.push(message(n, "t:a"));
		all.network.socket.push(message(9, "t:b"));
		await settled();
		expect(pattern.got).toEqual([9, 8, 10]);
		all.client.close();
	});

	test("is let go of where the subscribe that was to take its place is refused", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 0);
		collect(all, "t:a");
		bring(all, "t:a", 7);
		expect(all.network.socket.has("unsubscribe")).toBe(false);
		all.network.socket.push(message(9, "t:a")); // its cursor is ahead
		all.network.socket.answer("subscribe", busy);
		all.network.socket.push(message(5, "t:b"));
		end(all, "t:a");
		expect(all.network.socket.take("subscribe").subscribe.channel).toBe("t:a");
		end(all, "t:>");
		await settled();
		expect(pattern.got).toEqual([9, 5]);
		all.client.close();
	});

	test("and is apart stays where that is refused", async () => {
		const all = await connected();
		collect(all, "t:a");
		bring(all, "t:a", 7);
		all.network.socket.answer("subscribe", busy);
		expect(all.network.socket.sent).toEqual([]);
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 3);
		all.network.socket.push(message(9, "t:a"));
		end(all, "t:a"); // it overlaps now
		await settled();
		expect(pattern.got).toEqual([9]);
		all.client.close();
	});

	test("is not waited for where the subscription in its place waits for a token", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 0);
		const asked: ((token: string) => void)[] = [];
		const token = () => new Promise<string>((resolve) => asked.push(resolve));
		const own = collect(all, "t:a", { token });
		bring(all, "t:a", 7);
		asked[0]?.("early"); // it would be asked for beside what lets go
		await settled();
		expect(all.network.socket.has("subscribe")).toBe(false);
		all.network.socket.push(message(9, "t:a"));
		await reconnect(all);
		asked[1]?.("good");
		await settled();
		begin(all, "t:a", 11);
		expect(begin(all, "t:>", 0).positions).toEqual([at(0)]); // 8 may be missing
		all.network.socket.push(message(12, "t:a"));
		await settled();
		expect([pattern.got, own.got]).toEqual([[9], [12]]);
		all.client.close();
		expect(all.clock.timers.size).toBe(0);
	});

	test("and ends keeps nobody from being asked for again", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 3);
		await reconnect(all);
		bring(all, "t:a", 7);
		all.network.socket.push({ unsubscribed: { channel: "t:a", code: 4600 } });
		all.network.socket.answer("subscribe", busy);
		expect(begin(all, "t:>", 3).positions).toEqual([at(3)]);
		all.network.socket.push(message(8, "t:a"));
		await settled();
		expect(pattern.got).toEqual([8]);
		all.client.close();
		expect(all.clock.timers.size).toBe(0);
	});

	test("and is apart stays", async () => {
		const all = await connected();
		collect(all, "t:>");
		begin(all, "t:>", 3);
		bring(all, "u:a", 7);
		bring(all, "t:>", 7);
		expect(all.network.socket.sent).toEqual([]);
		all.client.close();
	});
});

describe("when one is let go of", () => {
	test("those that overlap are too, and all come back in their order", async () => {
		const all = await connected();
		const slow = all.client.channel("t:>").subscribe({ buffer: 2 });
		begin(all, "t:>", 0);
		collect(all, "t:a");
		begin(all, "t:a", 0);
		collect(all, "u:a");
		begin(all, "u:a", 0);
		for (let n = 1; n <= 3; n++) all.network.socket.push(message(n, "t:b"));
		await all.clock.pass(0);
		const gone = all.network.socket.sent.map((f) => f.unsubscribe?.channel);
		expect(gone).toEqual(["t:>", "t:a"]);
		// A new one that overlaps waits with them.
		const late = all.client.channel("t:b").subscribe();
		expect(late.state).toBe("paused");
		for (const channel of gone) {
			all.network.socket.answer("unsubscribe", { unsubscribed: { channel } });
		}
		let taken = 0;
		for await (const _ of slow) if (++taken === 2) break;
		expect(all.network.socket.sent.map((f) => f.subscribe?.channel)).toEqual(["t:a", "t:b"]);
		begin(all, "t:a", 0);
		begin(all, "t:b", 3);
		expect(begin(all, "t:>", 3).positions).toEqual([at(3)]);
		await late.ready;
		all.client.close();
		expect(all.clock.timers.size).toBe(0);
	});

	test("and one of the same name is made with a position, all are taken up anew", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 0);
		const { sub } = collect(all, "t:a");
		begin(all, "t:a", 0);
		all.network.socket.push(message(1, "t:a"));
		await settled();
		void sub.unsubscribe();
		all.network.socket.push(message(2, "t:a")); // dropped, and the node thinks we have it
		const again = collect(all, "t:a", { position: at(1) });
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:a" } });
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:>" } });
		expect(begin(all, "t:a", 1).position).toBe(at(1));
		expect(begin(all, "t:>", 0).positions).toEqual([at(0)]);
		all.network.socket.push(message(2, "t:a"));
		await settled();
		expect(again.got).toEqual([2]);
		expect(pattern.got).toEqual([]);
		all.client.close();
		expect(all.clock.timers.size).toBe(0);
	});

	test("what was on its way, or waited, is for those that overlap", async () => {
		const all = await connected();
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 0);
		const own = all.client.channel("t:a").subscribe();
		begin(all, "t:a", 0);
		for (const n of [1, 2, 3]) all.network.socket.push(message(n, "t:a"));
		for await (const { data } of own) if (data === 2) break; // and 1 was handled
		void own.unsubscribe();
		all.network.socket.push(message(4, "t:a"));
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:a" } });
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:>" } });
		expect(begin(all, "t:>", 0).positions).toEqual([at(0)]);
		for (const n of [1, 2, 3, 4, 5]) all.network.socket.push(message(n, "t:a"));
		await settled();
		expect(pattern.got).toEqual([3, 4, 5]);
		all.client.close();
		expect(all.clock.timers.size).toBe(0);
	});

	test("one that has had all lets the others be", async () => {
		const all = await connected();
		collect(all, "t:>");
		begin(all, "t:>", 0);
		const own = collect(all, "t:a");
		begin(all, "t:a", 0);
		all.network.socket.push(message(1, "t:a"));
		await settled();
		void own.sub.unsubscribe();
		all.network.socket.push({ caught_up: { channel: "t:a", position: at(1) } });
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:a" } });
		expect(all.network.socket.sent).toEqual([]);
		all.client.close();
	});

	test("a durable one, which is not let go of, holds up no others", async () => {
		const all = await connected({ session: "s" }, { session: "s" });
		const durable = all.client.channel("t:a").subscribe({ durable: true });
		begin(all, "t:a", 5, { durable: true });
		const first = all.client.channel("t:*").subscribe();
		begin(all, "t:*", 5);
		const { sub, got } = collect(all, "t:>");
		begin(all, "t:>", 5);
		all.network.socket.push(message(6, "t:b")); // the first pattern's, which does not take it
		all.network.socket.push(message(7, "t:a")); // waits in the durable one for good
		await settled();
		void first.unsubscribe();
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:*" } });
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:>" } });
		expect(begin(all, "t:>", 5).positions).toEqual([at(5)]);
		all.network.socket.push(message(6, "t:b"));
		await settled();
		expect([sub.state, got]).toEqual(["live", [6]]);
		expect(durable.state).toBe("live");
		all.client.close();
	});

	test("a durable one that asks for history waits until others are let go of", async () => {
		const all = await connected({ session: "s" }, { session: "s" });
		const pattern = collect(all, "t:>");
		begin(all, "t:>", 5);
		const first = collect(all, "t:a");
		begin(all, "t:a", 5);
		all.network.socket.push(message(6, "t:a"));
		await settled();
		void first.sub.unsubscribe();
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:a" } });
		const durable = collect(all, "t:a", { durable: true, last: 10 });
		await settled();
		expect(all.network.socket.has("subscribe")).toBe(false); // what was had is not sent again
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:>" } });
		expect(begin(all, "t:a", 0, { durable: true })).toMatchObject({ durable: true, last: 10 });
		all.network.socket.push(message(6, "t:a"));
		begin(all, "t:>", 5);
		await settled();
		expect(durable.got).toEqual([6]);
		expect([durable.sub.state, pattern.sub.state]).toEqual(["live", "live"]);
		all.client.close();
	});

	test("an unsubscribe that is refused for now is sent again, ever more seldom", async () => {
		const all = await connected();
		const { sub } = collect(all, "t:a");
		begin(all, "t:a", 0);
		const gone = sub.unsubscribe();
		all.network.socket.answer("unsubscribe", {
			error: { code: 4429, message: "", temporary: true, retry_after_ms: 500 },
		});
		const waits: number[] = [];
		for (let ms = 0; waits.length < 6; ms += 5) {
			await all.clock.pass(5);
			if (!all.network.socket.has("unsubscribe")) continue;
			waits.push(ms);
			ms = 0;
			all.network.socket.answer("unsubscribe", {
				error: { code: 4503, message: "", temporary: true, retry_after_ms: 0 },
			});
		}
		for (const [i, ms] of waits.entries()) expect(ms).toBeGreaterThan(100 * 2 ** i);
		await all.clock.pass(10_000);
		all.network.socket.answer("unsubscribe", { unsubscribed: { channel: "t:a" } });
		await gone;
		all.client.close();
		expect(all.clock.timers.size).toBe(0);
	});
});

describe("after a spell over HTTP, where each has had all", () => {
	const body = (n: number) => message(n, "t:a").message;

	/** Three messages came by polls to each, or all but one, and the WebSocket is back. */
	async function back(without?: string) {
		const kept = new Map([["rivulet:node.test:transport", `poll ${Date.now()}`]]);
		const fetch = async (input: unknown, { signal }: RequestInit) => {
			const { searchParams: asked } = new URL(String(input));
			if (!asked.has("channel")) return polled("");
			if (asked.get("timeout") === "0") return polled(at(0));
			if (asked.get("position") === at(0) && asked.get("channel") !== without)
				return polled(at(3), [1, 2, 3].map(body));
			return new Promise<Response>((_, reject) => {
				signal?.addEventListener("abort", () => reject(signal.reason));
			});
		};
		const all = setup({
			transports: ["websocket", "poll"],
			fetch: fetch as typeof globalThis.fetch,
			storage: {
				getItem: (key) => kept.get(key) ?? null,
				setItem: () => {},
				removeItem: () => {},
			},
		});
		const own = collect(all, "t:a");
		const pattern = collect(all, "t:>");
		const slow = all.client.channel("t:*").subscribe();
		await all.clock.pass(2000);
		expect(all.client.transport).toBe("poll");
		all.client.disconnect();
		all.clock.sleep(600_001); // then what is preferred is tried again
		all.client.connect();
		await all.clock.pass(0);
		all.network.socket.greet();
		return { all, own, pattern, slow };
	}

	test("those that read again are not given twice what they had", async () => {
		const { all, own, pattern, slow } = await back();
		for (const name of ["t:a", "t:>", "t:*"]) begin(all, name, 3);
		void slow.unsubscribe(); // and has handled nothing
		for (const channel of ["t:*", "t:a", "t:>"])
			all.network.socket.answer("unsubscribe", { unsubscribed: { channel } });
		expect(begin(all, "t:a", 0).position).toBe(at(0));
		for (const n of [1, 2, 3, 4]) all.network.socket.push(message(n, "t:a"));
		expect(begin(all, "t:>", 0).positions).toEqual([at(0)]);
		await settled();
		expect(own.got).toEqual([1, 2, 3, 4]);
		expect(pattern.got).toEqual([1, 2, 3]);
		all.client.close();
	});

	test("a channel's own is given what a pattern alone had", async () => {
		const { all, own, pattern } = await back("t:a");
		expect([own.got, pattern.got]).toEqual([[], [1, 2, 3]]);
		begin(all, "t:a", 0);
		begin(all, "t:>", 3);
		for (const n of [1, 2, 3, 4]) all.network.socket.push(message(n, "t:a"));
		await settled();
		expect([own.got, pattern.got]).toEqual([
			[1, 2, 3, 4],
			[1, 2, 3],
		]);
		all.client.close();
	});
});

describe("names", () => {
	test.each([
		["t:*", "t:a", true],
		["t:*", "t:a.b", false],
		["t:>", "t:a.b", true],
		["t:a.>", "t:a", false],
		["t:a.>", "t:a.b.c", true],
		["t:*.b", "t:a.b", true],
		["t:*.b", "u:a.b", false],
		["t:*.b", "t:a.b.c", false],
		["t:a*", "t:a*", true],
		["t:a:b.*", "t:a:b.c", true],
		["t:*", "t:a:b", true],
	])("%s covers %s: %s", (pattern, channel, want) => {
		expect(matches(pattern, channel)).toBe(want);
	});

	test("that overlap", () => {
		expect(overlaps("t:a", "t:*")).toBe(true);
		expect(overlaps("t:>", "t:a.b")).toBe(true);
		expect(overlaps("t:a.*", "t:b.*")).toBe(true); // of two patterns it is supposed
		expect(overlaps("t:a.*", "u:a.*")).toBe(false);
		expect(overlaps("t:a", "t:a")).toBe(false);
		expect(isPattern("t:a*b")).toBe(false);
		expect(isPattern("t:a.>")).toBe(true);
	});
});
