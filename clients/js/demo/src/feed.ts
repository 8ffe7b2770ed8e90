// The live feed, and what is proved by it: its events are numbered without a hole, so that
// a lost or doubled one shows.

import type { Cut } from "./cut.js";
import { Client, type Message, type Subscription, type Update } from "./sdk.js";
import { append, Store } from "./store.js";

/** What the node publishes: the n-th event of a run. */
export interface FeedEvent {
	readonly run: string;
	readonly n: number;
	readonly project: string;
	readonly commit: string;
	readonly author: string;
	readonly subject: string;
}

export type FeedMessage = Message<FeedEvent>;

const longest = 200;

/**
 * A message of the feed, or `undefined` for what somebody else has published there: on a node that
 * is open to all, anything at all.
 */
export function eventOf(m: Message): FeedMessage | undefined {
	const { run, n, project, commit, author, subject } = (m.data ?? {}) as Partial<FeedEvent>;
	const texts = [run, project, commit, author, subject].map((text) =>
		typeof text === "string" ? text.slice(0, longest) : undefined,
	);
	if (texts.includes(undefined) || !Number.isSafeInteger(n) || (n as number) < 1) return undefined;
	const [r, p, c, a, s] = texts as [string, string, string, string, string];
	return { ...m, data: { run: r, n: n as number, project: p, commit: c, author: a, subject: s } };
}

/** A message on its way, in `performance.now()`. */
export interface Passage {
	readonly offset: number;
	readonly n: number;
	readonly stored: number;
	delivered?: number;
	/** It came by replay. */
	late?: boolean;
	/** It was stored before the feed had paused, and before the page was there. */
	old?: boolean;
}

/** One cut, from its beginning to the proof. */
export interface CutReport {
	readonly phase: "preparing" | "cut" | "reconnecting" | "done" | "failed";
	readonly from: number;
	readonly until: number;
	/** What was stored meanwhile, as another connection saw it. */
	readonly missed: readonly {
		readonly n: number;
		readonly offset: number;
		readonly here: boolean;
	}[];
	/** Milliseconds from the reconnect until everything was here. */
	readonly took?: number;
	readonly lost: number;
	readonly doubled: number;
	readonly disordered: number;
}

export interface FeedState {
	readonly events: readonly FeedMessage[];
	/** Since the page was opened: what was replayed to begin with is not counted. */
	readonly total: number;
	readonly missing: number;
	readonly doubled: number;
	readonly gaps: number;
	readonly cut?: CutReport;
}

export const feedChannel = "demo:commits";
export const cutLength = 8000;

const shown = 40;
const remembered = 400;
/** The feed plays on for 10 seconds for nobody: what is older was stored before a pause. */
const oldAfter = 10_000;
const silentAfter = 5000;
const patience = 30_000;

export class Feed {
	readonly state = new Store<FeedState>({ events: [], total: 0, missing: 0, doubled: 0, gaps: 0 });
	/** The last passages, in the order of their offsets; the picture reads it at each frame. */
	readonly passages: Passage[] = [];
	/** Cuts that the picture may show still. */
	readonly cuts: { from: number; until: number }[] = [];
	readonly #client: Client;
	readonly #cut: Cut;
	readonly channel = feedChannel;
	readonly #subscription: Subscription;
	/** When it began last, or something came. */
	#heard = 0;
	/** After the last message. */
	#position: string | undefined;
	#last: { run: string; n: number; offset: number } | undefined;
	/** Of wall clocks: the node's is ahead by so much. */
	#skew = 0;
	/** Offsets in the order of their arrival, while a cut is looked at. */
	#arrivals: number[] | undefined;
	#resumed: number | undefined;
	#caughtUp = false;
	#replaying = false;
	/** It is not the first time that it begins. */
	#again = false;
	#abort = new AbortController();

	/** It goes on where `before` was. */
	constructor(client: Client, cut: Cut, before?: Feed) {
		this.#client = client;
		this.#cut = cut;
		if (before) this.#inherit(before);
		const start = this.#position === undefined ? { last: 12 } : { position: this.#position };
		this.#subscription = client.channel(feedChannel).subscribe(start, {
			message: (m: Message) => this.#message(m),
			update: (u: Update) => this.#update(u),
		});
		this.#subscription.ready.catch(() => {}); // the state of the connection tells
	}

	#inherit(before: Feed): void {
		const { cut, ...counted } = before.state.value;
		this.state.set(cut?.phase === "done" ? { ...counted, cut } : counted);
		this.passages.push(...before.passages);
		this.cuts.push(...before.cuts);
		this.#position = before.#position;
		this.#last = before.#last;
		this.#skew = before.#skew;
	}

	/** Two or three events a second should come, and none has for a while. */
	get silent(): boolean {
		return this.begun && performance.now() - this.#heard > silentAfter;
	}

	/** The node has it subscribed, or had when the connection was lost. */
	get begun(): boolean {
		return this.#subscription.state === "live" || this.#subscription.state === "paused";
	}

	#message(message: Message): void {
		const m = eventOf(message);
		if (!m) return;
		const now = performance.now();
		this.#position = m.position;
		this.#heard = now;
		this.#count(m);
		this.#arrivals?.push(m.offset);
		const passage = this.#passage(m, now);
		passage.delivered ??= now;
		const first = this.#replaying && !this.#again;
		if (first) passage.old = now - passage.stored > oldAfter;
		else if (this.#again && (this.#replaying || passage.stored < (this.#resumed ?? 0)))
			passage.late = true;
		const { events, total } = this.state.value;
		this.state.set({ events: append(events, m, shown), total: total + (first ? 0 : 1) });
	}

	/** The numbers of a run have no hole, and offsets grow. */
	#count(m: FeedMessage): void {
		const last = this.#last;
		const { run, n } = m.data;
		if (last?.run === run) {
			const { missing, doubled } = this.state.value;
			if (n > last.n + 1) this.state.set({ missing: missing + n - last.n - 1 });
			if (n <= last.n || m.offset <= last.offset) this.state.set({ doubled: doubled + 1 });
		}
		this.#last = { run, n, offset: m.offset };
	}

	#update(u: Update): void {
		if (u.type === "subscribed") {
			this.#resumed = performance.now();
			this.#heard = this.#resumed;
			this.#again = this.#last !== undefined;
			this.#replaying = true;
			this.#caughtUp = false;
		} else if (u.type === "caught_up") {
			this.#replaying = false;
			this.#caughtUp = true;
		} else if (u.type === "gap") {
			this.#last = undefined;
			this.state.set({ gaps: this.state.value.gaps + 1 });
		}
	}

	/** The one of a message, made where it is not known. */
	#passage(m: FeedMessage, now: number): Passage {
		const known = this.passages.findLast((p) => p.offset === m.offset);
		if (known) return known;
		const ahead = m.time - (performance.timeOrigin + now);
		if (ahead > this.#skew) this.#skew = ahead;
		const stored = m.time - this.#skew - performance.timeOrigin;
		const passage: Passage = { offset: m.offset, n: m.data.n, stored };
		const at = this.passages.findLastIndex((p) => p.offset < m.offset) + 1;
		this.passages.splice(at, 0, passage);
		if (this.passages.length > remembered) this.passages.shift();
		return passage;
	}

	/** Cuts the connection for a while, and shows that everything comes after it. */
	async demonstrate(): Promise<void> {
		const phase = this.state.value.cut?.phase;
		if (this.#client.state !== "connected" || (phase && phase !== "done" && phase !== "failed"))
			return;
		const blank = { from: 0, until: 0, missed: [], lost: 0, doubled: 0, disordered: 0 };
		this.state.set({ cut: { ...blank, phase: "preparing" } });
		this.#arrivals = [];
		// Somebody else, whose connection is not cut, sees what this one will have missed.
		const witness = new Client(location.origin, { name: "rivulet-demo-witness" });
		try {
			await this.#watch(witness);
		} catch {
			if (!this.#abort.signal.aborted) this.#report({ phase: "failed" });
		} finally {
			this.#cut.end();
			this.#arrivals = undefined;
			witness.close();
		}
	}

	async #watch(witness: Client): Promise<void> {
		const seen: FeedMessage[] = [];
		const position = this.#subscription.position;
		const began = this.#last?.offset ?? 0;
		let cutting = false;
		const note = (message: Message): void => {
			const m = eventOf(message);
			if (!m || m.offset <= began) return;
			seen.push(m);
			this.#passage(m, performance.now());
			if (cutting) this.#tick(seen);
		};
		const start = position === undefined ? {} : { position };
		const watching = witness.channel(feedChannel).subscribe(start, { message: note });
		await this.#within(watching.ready);
		cutting = true;
		this.#resumed = undefined;
		this.#caughtUp = false;
		const from = performance.now();
		const band = { from, until: from + cutLength };
		this.cuts.push(band);
		if (this.cuts.length > 4) this.cuts.shift();
		this.#cut.start();
		this.#report({ phase: "cut", ...band });
		await this.#wait(cutLength);
		this.#cut.end();
		this.#report({ phase: "reconnecting" });
		const over = performance.now() + patience;
		while (!this.#complete(seen) && performance.now() < over) {
			await this.#wait(30);
			this.#tick(seen);
		}
		cutting = false;
		this.#prove(seen);
	}

	/** What the witness has seen and this page had not when the cut began. */
	#tick(seen: readonly FeedMessage[]): void {
		const report = this.state.value.cut;
		if (!report) return;
		const resumed = this.#resumed ?? Number.POSITIVE_INFINITY;
		const missed = seen.flatMap((m) => {
			const p = this.#passage(m, performance.now());
			const before = p.delivered !== undefined && p.delivered < report.from;
			if (before || p.stored > resumed) return [];
			return { n: m.data.n, offset: m.offset, here: p.delivered !== undefined };
		});
		this.#report({ missed });
	}

	#complete(seen: readonly FeedMessage[]): boolean {
		const last = this.state.value.cut?.missed.at(-1)?.offset ?? seen.at(-1)?.offset ?? 0;
		return this.#resumed !== undefined && this.#caughtUp && (this.#last?.offset ?? 0) >= last;
	}

	/** Compares what arrived here with what the witness saw, one by one. */
	#prove(seen: readonly FeedMessage[]): void {
		const arrivals = this.#arrivals ?? [];
		const here = new Set(arrivals);
		const upTo = arrivals.at(-1) ?? 0;
		this.#tick(seen);
		const missed = this.state.value.cut?.missed ?? [];
		const last = missed.findLast((m) => m.here)?.offset;
		const arrived = this.passages.find((p) => p.offset === last)?.delivered;
		this.#report({
			phase: "done",
			took: Math.max(0, (arrived ?? 0) - (this.#resumed ?? 0)),
			lost: seen.filter(
				(m) =>
					!here.has(m.offset) && (m.offset <= upTo || missed.some((x) => x.offset === m.offset)),
			).length,
			doubled: arrivals.length - here.size,
			disordered: arrivals.filter((offset, i) => i > 0 && offset < (arrivals[i - 1] ?? 0)).length,
		});
	}

	#report(part: Partial<CutReport>): void {
		const report = this.state.value.cut;
		if (report) this.state.set({ cut: { ...report, ...part } });
	}

	#wait(ms: number): Promise<void> {
		return this.#within(new Promise((resolve) => setTimeout(resolve, ms)));
	}

	/** What is waited for, or an end with the page's. */
	#within<T>(promise: Promise<T>): Promise<T> {
		const { signal } = this.#abort;
		return new Promise((resolve, reject) => {
			const end = (): void => reject(signal.reason);
			if (signal.aborted) end();
			signal.addEventListener("abort", end);
			promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
		});
	}

	close(): void {
		this.#abort.abort();
		this.#subscription.unsubscribe().catch(() => {}); // gone either way
	}
}
