// Measures what matters: from the call of publish to the delivery of that message, through
// the node and its log, by one clock.

import type { Cut } from "./cut.js";
import type { Client, Message, Subscription } from "./sdk.js";
import { Store } from "./store.js";

/** What many at once took, in milliseconds. */
export interface Burst {
	readonly arrived: number;
	readonly p50: number;
	readonly last: number;
}

export interface LatencyState {
	/** Milliseconds, oldest first; those of bursts are no part of it. */
	readonly samples: readonly number[];
	readonly p50?: number;
	readonly p99?: number;
	/** A burst is under way. */
	readonly busy: boolean;
	/** The last one. */
	readonly burst?: Burst | undefined;
}

export const sampleCount = 120;
export const burstSize = 100;
const every = 1000;
const lateAfter = 10_000;

/** The smallest value that so much of a sorted list does not exceed. */
export function quantile(sorted: readonly number[], q: number): number | undefined {
	return sorted[Math.max(0, Math.ceil(sorted.length * q) - 1)];
}

const ascending = (list: readonly number[]): number[] => list.toSorted((a, b) => a - b);

interface Sent {
	readonly at: number;
	readonly arrived: (took: number) => void;
}

export class Latency {
	readonly state = new Store<LatencyState>({ samples: [], busy: false });
	readonly #client: Client;
	readonly #cut: Cut;
	readonly #channel: string;
	readonly #subscription: Subscription<number>;
	readonly #sent = new Map<number, Sent>();
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
			if (document.hidden || this.state.value.busy) return;
			this.#probe((took) => this.#sample(took)).catch(() => {}); // the next one is as good
		}, every);
	}

	async #probe(arrived: (took: number) => void): Promise<void> {
		// Before it has begun, a message of its own would not come.
		if (this.#client.state !== "connected" || this.#cut.on || this.#subscription.state !== "live")
			return;
		const id = ++this.#count;
		this.#sent.set(id, { at: performance.now(), arrived });
		for (const [old, { at }] of this.#sent) {
			if (performance.now() - at > lateAfter) this.#sent.delete(old);
		}
		const options = { ttl: 5, offline: "fail", timeout: lateAfter } as const;
		await this.#client.channel<number>(this.#channel).publish(id, options);
	}

	#arrived(id: number): void {
		const sent = this.#sent.get(id);
		if (!sent) return;
		this.#sent.delete(id);
		sent.arrived(performance.now() - sent.at);
	}

	#sample(took: number): void {
		const { samples } = this.state.value;
		const all = [...samples.slice(Math.max(0, samples.length + 1 - sampleCount)), took];
		const sorted = ascending(all);
		const [p50, p99] = [quantile(sorted, 0.5) ?? 0, quantile(sorted, 0.99) ?? 0];
		this.state.set({ samples: all, p50, p99 });
	}

	/**
	 * Publishes many at once and tells how long they took: nothing is drawn before all are here, for
	 * that would be measured too.
	 */
	async burst(): Promise<void> {
		if (this.state.value.busy) return;
		this.state.set({ busy: true, burst: undefined });
		const took: number[] = [];
		await new Promise<void>((resolve) => {
			const late = setTimeout(resolve, lateAfter);
			const arrived = (ms: number): void => {
				if (took.push(ms) < burstSize) return;
				clearTimeout(late);
				resolve();
			};
			for (let i = 0; i < burstSize; i++) this.#probe(arrived).catch(() => {}); // as above
		});
		const sorted = ascending(took);
		const [p50 = 0, last = 0] = [quantile(sorted, 0.5), sorted.at(-1)];
		this.state.set({ busy: false, burst: { arrived: took.length, p50, last } });
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
