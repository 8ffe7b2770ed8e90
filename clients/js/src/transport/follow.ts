// Subscriptions over HTTP. What there was before is polled, each channel alone; then channels are
// followed together, since a browser has six connections to a host.

import { read } from "../json.js";
import { canonical, isPattern } from "../names.js";
import type { Frame } from "../types.js";
import { Failure, problem } from "./answer.js";
import { patience, type Requests } from "./requests.js";

/** A subscription. */
export interface Sub {
	channel: string;
	/** What it leaves out, as parameters. */
	key: string;
	/** Where to go on: a position, of a pattern one of each stream. */
	at: string[];
	/** What there was before has come. */
	ready: boolean;
}

/** Subscriptions that one request follows. */
export interface Group {
	subs: Set<Sub>;
	/** Of the request. */
	stop?: AbortController;
	/** Of the next one. */
	timer?: unknown;
	/** When something came. */
	heard: number;
}

/** Follows `list` until it is told not to, or throws. */
export type Follow = (subs: Subs, group: Group, list: Sub[], until: AbortSignal) => Promise<void>;

/** What subscriptions need of their transport. */
export interface Host {
	tell(frame: Frame): void;
	/** There may be a WebSocket later: what needs one waits for it. */
	readonly later: boolean;
	/** Ends the transport with what `run` throws. */
	work(run: () => Promise<unknown>): void;
	alive(): void;
}

/** Of one request: the protocol's bound, and of a URL what every proxy takes. */
const mostChannels = 32;
const mostUrl = 6000;
/** Of requests that are held open. */
const mostGroups = 4;
/** Milliseconds of silence after which a group begins anew. */
const mostSilence = 90_000;
/** Milliseconds in which changes of a group are gathered. */
const gather = 20;

/** The subscriptions of a transport. */
export class Subs {
	readonly requests: Requests;
	readonly #follow: Follow;
	readonly #host: Host;
	readonly #subs = new Map<string, Sub>();
	readonly #groups: Group[] = [];

	constructor(requests: Requests, follow: Follow, host: Host) {
		this.requests = requests;
		this.#follow = follow;
		this.#host = host;
	}

	close(): void {
		this.#subs.clear();
		for (const group of this.#groups) {
			this.requests.clock.clearTimeout(group.timer);
			group.stop?.abort();
		}
	}

	/** Subscribes and answers the command. */
	async subscribe(c: any, id?: number): Promise<void> {
		const channel = canonical(c.channel);
		if (this.#subs.has(channel)) throw refusal(4409, "channel", "is subscribed already");
		// `presence` is passed over: messages are not to wait for what comes beside them.
		for (const field of ["durable", "group", "token"])
			if (c[field]) throw this.#needs(field, "needs a WebSocket");
		const { filter, conflate, max_rate, last, since } = c;
		const sub: Sub = {
			channel,
			key: and(query({ filter, conflate, max_rate })),
			at: c.positions ?? (c.position ? [c.position] : []),
			ready: false,
		};
		const start = and(query({ last, since }));
		const replays = sub.at.length > 0 || start !== "" || Boolean(conflate);
		const group = this.#groupOf(sub);
		this.#subs.set(channel, sub);
		group.subs.add(sub);
		try {
			await this.#begin(sub, start || positions([sub]), id);
		} catch (e) {
			this.#drop(sub);
			throw e;
		}
		if (replays) this.deliver([sub], "caught_up", { channel, ...place(sub, sub.at) });
		sub.ready = true;
		this.#revise(group);
	}

	/** Brings what there was, so that what is wrong with the channel is the answer to its command. */
	async #begin(sub: Sub, start: string, id?: number): Promise<void> {
		const { channel, at } = sub;
		const data = await this.poll([sub], 0, start);
		if (!this.#has(sub)) throw refusal(4409, "channel", "was unsubscribed");
		const { recovered, reason, messages } = data;
		// Where it begins: as asked, or where it stands if no message lies before that.
		const from = recovered && at.length ? at : messages.length ? [] : data.position.split(",");
		const subscribed = { channel, recovered, ...(reason && { reason }), ...place(sub, from) };
		this.#host.tell({ id: id as number, subscribed });
		this.take([sub], { ...data, recovered: true }); // said already
		for (let { more } = data; more && this.#has(sub); ) more = await this.catchUp(sub);
	}

	/** Unsubscribes; what it returns is the answer. */
	async unsubscribe(c: any): Promise<{ channel: string }> {
		const channel = canonical(c.channel);
		const sub = this.#subs.get(channel);
		if (!sub) throw refusal(4404, "channel", "is not subscribed");
		this.#drop(sub);
		return { channel };
	}

	/** What there is after the positions of `list`, or comes in so many seconds. */
	async poll(list: Sub[], seconds: number, at = positions(list), until?: AbortSignal) {
		const path = `/v1/poll?timeout=${seconds}${channels(list)}${at}`;
		const ms = patience + seconds * 1000;
		return read(await this.requests.ask(path, { ms, until }), "body");
	}

	/** Polls one alone, so that what is said is said of it. Returns whether there is more. */
	async catchUp(sub: Sub): Promise<boolean> {
		const data = await this.poll([sub], 0);
		this.take([sub], data);
		return data.more;
	}

	/** Hands on what a poll has brought after it had begun. */
	take(list: Sub[], data: any): void {
		const [sub] = list as [Sub];
		if (!data.recovered)
			this.deliver(list, "gap", { channel: sub.channel, position: "", reason: data.reason });
		for (const m of data.messages) this.deliver(list, "message", m);
		for (const d of data.deleted ?? []) this.deliver(list, "deleted", d);
		if (list.length === 1 && data.position) sub.at = data.position.split(",");
	}

	/** Hands on an event of one of `list`, if it is subscribed still. */
	deliver(list: Sub[], name: string, body: any): void {
		const [first] = list as [Sub];
		const via = isPattern(first.channel) && first.channel;
		const sub = via ? first : list.find((s) => s.channel === body.channel);
		if (!sub || !this.#has(sub)) return;
		move(sub, body);
		this.tell({ [name]: body, ...(via && { via }) });
	}

	tell(frame: Frame): void {
		this.#host.tell(frame);
	}

	/** Something came by a group. Another one that was silent for long is begun anew. */
	alive(group: Group): void {
		group.heard = this.requests.clock.now();
		this.#host.alive();
		this.revive(mostSilence);
	}

	/** Begins anew what nothing came by for longer than so many milliseconds. */
	revive(silence: number): void {
		const now = this.requests.clock.now();
		for (const group of this.#groups)
			if (group.stop && now - group.heard > silence) this.#restart(group);
	}

	/** 4422 is for the next connection; where that will be no other one it is for good. */
	#needs(field: string, message: string): Failure {
		return this.#host.later
			? refusal(4422, field, message)
			: refusal(4400, field, `${message}, which the option transports leaves out`);
	}

	#has(sub: Sub): boolean {
		return this.#subs.get(sub.channel) === sub;
	}

	#drop(sub: Sub): void {
		if (this.#has(sub)) this.#subs.delete(sub.channel);
		for (const group of this.#groups) if (group.subs.delete(sub)) this.#revise(group);
	}

	/** A group that has room. */
	#groupOf(sub: Sub): Group {
		const fits = ({ subs }: Group) => {
			const all = [...subs, sub];
			return (
				all.length === 1 ||
				(all.length <= mostChannels &&
					channels(all).length + all.length * 60 < mostUrl &&
					all.every((s) => s.key === sub.key && !isPattern(s.channel)))
			);
		};
		let group = this.#groups.find(fits);
		if (group) return group;
		if (this.#groups.length === mostGroups)
			throw this.#needs("channel", "so many patterns and filters need a WebSocket");
		group = { subs: new Set(), heard: 0 };
		this.#groups.push(group);
		return group;
	}

	/** Has a group follow what it has now, soon. */
	#revise(group: Group): void {
		group.timer ??= this.requests.clock.setTimeout(() => this.#restart(group), gather);
	}

	#restart(group: Group): void {
		this.requests.clock.clearTimeout(group.timer);
		delete group.timer;
		group.stop?.abort();
		delete group.stop;
		const list = [...group.subs].filter((s) => s.ready);
		if (!list.length) return;
		const stop = new AbortController();
		group.stop = stop;
		group.heard = this.requests.clock.now();
		this.#follow(this, group, list, stop.signal).catch((e) => {
			if (group.stop === stop) this.#host.work(() => this.#refused(group, list, e));
		});
	}

	/** Finds which of the channels is refused, if it is that. */
	async #refused(group: Group, list: Sub[], e: any): Promise<void> {
		if (!isRefusal(e)) throw e;
		let found = false;
		for (const sub of list) {
			try {
				await this.catchUp(sub);
			} catch (e: any) {
				if (!isRefusal(e)) throw e;
				found = true;
				const { channel } = sub;
				this.deliver([sub], "unsubscribed", { channel, code: 4700, reason: e.error.message });
				this.#drop(sub);
			}
		}
		if (!found) throw new Failure({ code: 1006, reason: e.end.reason, blocked: true });
		this.#restart(group);
	}
}

const refusal = (code: number, field: string, message: string): Failure =>
	new Failure({ code: 1006, reason: message }, problem(code, message, field));

const isRefusal = (e: any): boolean =>
	e instanceof Failure && e.error && [400, 403, 404].includes(e.end.status ?? 0);

/** The parameters that have a value. */
export const query = (fields: object): string =>
	String(new URLSearchParams(Object.entries(fields).filter(([, v]) => v !== undefined)));

const and = (text: string): string => text && `&${text}`;

/** The parameters that name the subscriptions, and those that say where each goes on. */
export const channels = (list: Sub[]): string =>
	(list[0] as Sub).key + list.map((s) => `&channel=${encodeURIComponent(s.channel)}`).join("");

export const positions = (list: Sub[]): string =>
	list.map((s) => `&position=${encodeURIComponent(s.at.join())}`).join("");

const place = (sub: Sub, at: string[]): object =>
	isPattern(sub.channel) ? { positions: at } : at[0] ? { position: at[0] } : {};

/** Notes the positions of an event. */
function move(sub: Sub, body: any): void {
	for (const p of body.positions ?? [body.position]) {
		if (!p) continue;
		const others = isPattern(sub.channel)
			? sub.at.filter((q) => q.slice(0, 5) !== p.slice(0, 5))
			: [];
		sub.at = [...others, p];
	}
}
