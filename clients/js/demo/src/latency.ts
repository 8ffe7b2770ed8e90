// Measures what matters: from the call of publish to the delivery of that message, through
// the node and its log, by one clock.

import type { Cut } from "./cut.js";
import type { Client, Message, Subscription } from "./sdk.js";
import { Store } from "./store.js";

export interface LatencyState {
	/** Milliseconds, oldest first. */
	readonly samples: readonly number[];
	readonly p50?: number;
	readonly p99?: number;
	/** A burst is under way. */
	readonly busy: boolean;
}

export const sampleCount = 120;
export const burstSize = 100;
const every = 1000;
const lateAfter = 10_000;

/** The smallest value that so much of a sorted list does not exceed. */
export function quantile(sorted: readonly number[], q: number): number | undefined {
	return sorted[Math.max(0, Math.ceil(sorted.length * q) - 1)];
}

export class Latency {
	readonly state = new Store<LatencyState>({ samples: [], busy: false });
	readonly #client: Client;
	readonly #cut: Cut;
	readonly #channel: string;
	readonly #subscription: Subscription<number>;
	readonly #sent = new Map<number, number>();
	readonly #timer: ReturnType<typeof setInterval>;
	#count = 0;

	constructor(client: Client, cut: Cut) {
		this.#client = client;
		this.#cut = cut;
		this.#channel = `demo:probe.${crypto.randomUUID().slice(0, 8)}`;
		this.#subscription = client
			.channel<number>(this.#channel)
			.subscribe({}, { message: (m: Message<number>) => this.#arrived(m.data) });
		this.#subscription.ready.catch(() => {}); // the state of the connection tells
		this.#timer = setInterval(() => {
			if (!document.hidden) this.#probe().catch(() => {}); // the next one is as good
		}, every);
	}

	async #probe(): Promise<void> {
		if (this.#client.state !== "connected" || this.#cut.on) return;
		const id = ++this.#count;
		this.#sent.set(id, performance.now());
		for (const [old, at] of this.#sent) {
			if (performance.now() - at > lateAfter) this.#sent.delete(old);
		}
		const options = { ttl: 5, offline: "fail", timeout: lateAfter } as const;
		await this.#client.channel<number>(this.#channel).publish(id, options);
	}

	#arrived(id: number): void {
		const at = this.#sent.get(id);
		if (at === undefined) return;
		this.#sent.delete(id);
		const { samples } = this.state.value;
		const all = [
			...samples.slice(Math.max(0, samples.length + 1 - sampleCount)),
			performance.now() - at,
		];
		const sorted = all.toSorted((a, b) => a - b);
		const [p50, p99] = [quantile(sorted, 0.5) ?? 0, quantile(sorted, 0.99) ?? 0];
		this.state.set({ samples: all, p50, p99 });
	}

	/** Publishes many at once: how long does the last one take? */
	async burst(): Promise<void> {
		if (this.state.value.busy) return;
		this.state.set({ busy: true });
		await Promise.allSettled(Array.from({ length: burstSize }, () => this.#probe()));
		this.state.set({ busy: false });
	}

	/** What is on its way when the connection is cut says nothing about the way. */
	forget(): void {
		this.#sent.clear();
	}

	close(): void {
		clearInterval(this.#timer);
		this.#subscription.unsubscribe().catch(() => {}); // gone either way
	}
}
