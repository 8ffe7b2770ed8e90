// What the hooks share of a channel, on a fake client.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Client, RivuletError } from "../../src/index.js";
import { type ChannelOptions, peek, storeOf } from "../../src/react/store.js";
import type { SubscribeOptions, Update } from "../../src/types.js";

/** A subscription whose updates the test pushes. */
class FakeSub {
	position: string | undefined;
	positions: string[] = [];
	ended = false;
	readonly #items: Update<any>[] = [];
	#wake: () => void = () => {};

	constructor(readonly options: SubscribeOptions) {}

	push(...updates: Update<any>[]): void {
		this.#items.push(...updates);
		this.#wake();
	}

	say(offset: number): void {
		this.position = `p${offset}`;
		this.positions = [`p${offset}`];
		const message = { channel: "default:x", offset, position: `p${offset}`, time: 0, data: offset };
		this.push({ type: "message", message });
	}

	async *updates(): AsyncGenerator<Update<any>> {
		for (;;) {
			const next = this.#items.shift();
			if (next) yield next;
			if (next?.type === "unsubscribed") return;
			if (!next) await new Promise<void>((resolve) => (this.#wake = resolve));
		}
	}

	async unsubscribe(): Promise<void> {
		this.ended = true;
		this.push({ type: "unsubscribed" });
	}
}

let subs: FakeSub[];
let asked: number;
let refuse: RivuletError | undefined;
let client: Client;
let change: (change: { transport?: string }) => void;
beforeEach(() => {
	vi.useFakeTimers();
	subs = [];
	asked = 0;
	refuse = undefined;
	change = () => {};
	client = {
		on: (_: string, listener: typeof change) => {
			change = listener;
			return () => {};
		},
		channel: () => ({
			subscribe: (options: SubscribeOptions) => {
				if (refuse) throw refuse;
				const sub = new FakeSub(options);
				subs.push(sub);
				return sub;
			},
			presence: async () => {
				asked++;
				return { members: [], clients: 3, users: 2, partial: false };
			},
		}),
	} as unknown as Client;
});
afterEach(() => void vi.useRealTimers());

const settle = () => vi.advanceTimersByTimeAsync(5);
const watch = (options: ChannelOptions | undefined, changed = () => {}, presence = false) =>
	storeOf(client, "x").watch(changed, presence, options);
const shown = () => peek(client, "x")?.view.messages.map((m) => m.data);

test("components share one subscription, with the options of the first", async () => {
	const ends = [
		watch({ last: 5 }),
		watch({ last: 7 }),
		storeOf(client, "default:x").watch(() => {}, false),
	];
	await settle();
	expect(subs.map((s) => s.options)).toEqual([{ last: 5 }]);
	for (const end of ends) end();
	await settle();
	expect(subs[0]?.ended).toBe(true);
	expect([peek(client, "x"), vi.getTimerCount()]).toEqual([undefined, 0]);
});

test("strict mode mounts twice and subscribes once", async () => {
	watch({})();
	const end = watch({});
	await settle();
	expect(subs.length).toBe(1);
	end();
});

test("what comes together is told once, and the newest are kept", async () => {
	let told = 0;
	watch({ keep: 3 }, () => told++);
	await settle();
	for (let n = 1; n <= 100; n++) subs[0]?.say(n);
	await settle();
	expect([shown(), told]).toEqual([[98, 99, 100], 1]);
	subs[0]?.push({ type: "deleted", channel: "default:x", offset: 99 });
	await settle();
	expect(shown()).toEqual([98, 100]);
});

test("who comes to look at members takes the subscription on where it is", async () => {
	watch({ last: 5 });
	await settle();
	subs[0]?.say(1);
	await settle();
	const end = watch(undefined, () => {}, true);
	await settle();
	subs[1]?.say(2);
	await settle();
	expect(subs[1]?.options).toEqual({ position: "p1", presence: true });
	expect(shown()).toEqual([1, 2]);
	end();
});

test("who comes for messages after others came for members has those before, once", async () => {
	watch(undefined, () => {}, true);
	await settle();
	subs[0]?.say(4);
	await settle();
	watch({ last: 2 });
	await settle();
	expect(subs[1]?.options).toEqual({ last: 2, presence: true });
	subs[1]?.say(3);
	subs[1]?.say(4);
	await settle();
	expect(shown()).toEqual([3, 4]);
});

test("where members are not pushed they are asked for", async () => {
	watch(undefined, () => {}, true);
	await settle();
	subs[0]?.push({
		type: "unsubscribed",
		error: new RivuletError(4422, "no presence here", { field: "presence" }),
	});
	await settle();
	expect(subs[1]?.options).toEqual({});
	await vi.advanceTimersByTimeAsync(30_000);
	expect(asked).toBe(4);
	expect(peek(client, "x")?.presence).toMatchObject({ clients: 3, users: 2, error: undefined });
});

test("a durable subscription keeps its place when members are looked at", async () => {
	watch({ durable: true });
	await settle();
	watch(undefined, () => {}, true);
	await settle();
	expect([subs.length, subs[0]?.ended, asked]).toEqual([1, false, 1]);
});

test("an end, with and without an error, is shown", async () => {
	watch({});
	await settle();
	subs[0]?.push({ type: "subscribed", recovered: true, resumed: false });
	await settle();
	expect(peek(client, "x")?.view.live).toBe(true);
	subs[0]?.push({ type: "unsubscribed" }); // the client was closed
	await settle();
	expect(peek(client, "x")?.view).toMatchObject({ live: false, error: undefined });
});

test("a name that is none is an error, not an exception", async () => {
	refuse = new RivuletError(4400, "channel: has a blank");
	watch({});
	await settle();
	expect(peek(client, "x")?.view.error).toBe(refuse);
});
