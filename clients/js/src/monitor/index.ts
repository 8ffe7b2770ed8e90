// Monitoring of clients in the field, opt-in: how long connecting, a round trip and delivery take,
// reconnects, gaps, paints and errors. Reports hold numbers and names of errors alone: no channel,
// no user, no token, no message, no text of an error.

import type { Client } from "../client.js";
import { RivuletError } from "../errors.js";
import { wrong } from "../options.js";
import type { StateChange } from "../types.js";
import { VERSION } from "../version.js";
import { errorsOf, type Reported } from "./errors.js";
import { Paints, type PaintTimes } from "./paint.js";
import { Delays, Samples } from "./samples.js";

export type { Reported } from "./errors.js";
export type { PaintTimes } from "./paint.js";

/** Options of `monitor`. */
export interface MonitorOptions {
	/** Where reports go; the node's own `/v1/telemetry` unless given. */
	endpoint?: string;
	/** The share of pages that report, 0 to 1; 1 by default. Decided once, at the beginning. */
	sample?: number;
	/** Milliseconds between reports, 1,000 to 86,400,000; 30,000 by default. */
	interval?: number;
	/** Uncaught errors and rejections that nobody handled: true by default, in pages. */
	errors?: boolean;
	/** First and largest contentful paint: true by default, in pages. */
	paint?: boolean;
	/** Sees each report before it goes, and may return another, or `undefined` for none, as when it throws. */
	before?: (report: Report) => Report | undefined;
	/** In place of the globals. */
	fetch?: typeof fetch;
	random?: () => number;
}

/** What is sent, at most some kilobytes; times are milliseconds. */
export interface Report {
	sdk: string;
	transport?: string;
	/** From an attempt to `connected`. At most 50 of each kind, chosen evenly. */
	connects: number[];
	round_trips: number[];
	/**
	 * From the store to the client, above the fastest that this page has seen, plus half the
	 * fastest round trip: so it does not matter what the client's clock shows.
	 */
	deliveries: number[];
	/** Connections that were lost and came back. */
	reconnects: number;
	gaps: number;
	paints: PaintTimes;
	errors: Reported[];
	/** Errors beyond those that were reported. */
	more_errors: number;
}

/** A running monitor. */
export interface Monitor {
	/** Sends what there is, unless a report went within the last second. */
	flush(): void;
	/** Sends what there is, and ends. */
	stop(): void;
}

/** Reports a page, at most: the rest of a long life is not more interesting than its beginning. */
const mostReports = 1_000;
/** The node refuses counts beyond this, and times beyond ten minutes. */
const mostCounted = 10_000;
const longest = 600_000;
/** After failures so many intervals at most are passed over. */
const mostSkipped = 64;

const known = ["endpoint", "sample", "interval", "errors", "paint", "before", "fetch", "random"];

/**
 * Watches a client until `stop`, or until the client is closed; `url` is the node's, as the client
 * has it. Throws 4400 for options out of their bounds, or that there are none of.
 */
export function monitor(client: Client, url: string, options: MonitorOptions = {}): Monitor {
	const odd = Object.keys(options).find((name) => !known.includes(name));
	if (odd) throw wrong(odd, `options are ${known.join(", ")}`);
	if (!options.endpoint && typeof url !== "string")
		throw wrong("url", "monitor(client, url) takes the node's, as the client has it");
	const { sample = 1, interval = 30_000, random = Math.random } = options;
	const field = !(sample >= 0 && sample <= 1) ? "sample" : "interval";
	if (field === "sample" || !(interval >= 1_000 && interval <= 86_400_000)) {
		throw new RivuletError(4400, `monitor: ${field} is out of its bounds`, { field });
	}
	if (random() >= sample) return { flush: () => {}, stop: () => {} };
	return new Watch(client, options.endpoint ?? endpointOf(url), options, interval);
}

class Watch implements Monitor {
	readonly #endpoint: string;
	readonly #options: MonitorOptions;
	readonly #connects = new Samples();
	readonly #roundTrips = new Samples();
	readonly #delays = new Delays(performance.now());
	readonly #errors: Reported[] = [];
	readonly #paints: Paints | undefined;
	#moreErrors = 0;
	#reconnects = 0;
	#gaps = 0;
	#transport: string | undefined;
	#tryingSince: number | undefined;
	#isUp: boolean;
	#wasLost = false;
	#sent = 0;
	#sentAt = Number.NEGATIVE_INFINITY;
	/** Failures in a row, and intervals still to be passed over after the last. */
	#failures = 0;
	#skip = 0;
	readonly #ends: (() => void)[] = [];

	constructor(client: Client, endpoint: string, options: MonitorOptions, interval: number) {
		this.#endpoint = endpoint;
		this.#options = options;
		this.#isUp = client.state === "connected";
		this.#ends.push(
			client.on("state", (change) => this.#onState(change)),
			client.on("round_trip", ({ ms }) => this.#onRoundTrip(ms)),
			client.on("gap", () => this.#gaps++),
			client.on("message", ({ time }) => this.#delays.add(Date.now() - time, performance.now())),
		);
		if (options.errors !== false) this.#ends.push(errorsOf((e) => this.#onError(e)));
		if (options.paint !== false) {
			const paints = new Paints();
			this.#paints = paints;
			this.#ends.push(() => paints.end());
		}
		const timer = setInterval(() => this.#onInterval(), interval);
		(timer as { unref?(): void }).unref?.(); // a process is not to live for its reports
		this.#ends.push(() => clearInterval(timer));
		if (typeof document !== "undefined") {
			const hidden = () => document.visibilityState === "hidden" && this.#send(true);
			document.addEventListener("visibilitychange", hidden);
			this.#ends.push(() => document.removeEventListener("visibilitychange", hidden));
		}
	}

	flush(): void {
		if (performance.now() - this.#sentAt >= 1_000) this.#send(false);
	}

	stop(): void {
		if (this.#ends.length === 0) return;
		this.#send(true);
		for (const end of this.#ends.splice(0)) end();
		this.#sent = mostReports;
	}

	#onInterval(): void {
		if (this.#skip > 0) this.#skip--;
		else this.flush();
	}

	#onState({ state, transport }: StateChange): void {
		if (state === "connecting") this.#tryingSince = performance.now();
		if (state === "retrying") this.#wasLost ||= this.#isUp;
		this.#isUp = state === "connected";
		if (state === "closed") this.stop();
		if (!this.#isUp) return;
		if (this.#tryingSince !== undefined) {
			const took = performance.now() - this.#tryingSince;
			if (took < longest) this.#connects.add(took); // longer ones were asleep
		}
		if (this.#wasLost) this.#reconnects++;
		this.#tryingSince = undefined;
		this.#wasLost = false;
		this.#transport = transport;
	}

	#onRoundTrip(ms: number): void {
		if (ms >= longest) return;
		this.#roundTrips.add(ms);
		this.#delays.roundTrip(ms);
	}

	#onError(error: Reported): void {
		if (this.#errors.length < 20) this.#errors.push(error);
		else this.#moreErrors++;
	}

	#send(leaving: boolean): void {
		if (this.#sent >= mostReports) return;
		const body = this.#body();
		if (body === undefined) return;
		this.#sent++;
		this.#sentAt = performance.now();
		// As text: a page of another origin needs no leave for that beforehand, and a beacon gets none.
		const type = "text/plain;charset=utf-8";
		if (leaving && typeof navigator !== "undefined" && "sendBeacon" in navigator) {
			if (navigator.sendBeacon(this.#endpoint, new Blob([body], { type }))) return;
		}
		void this.#post(body, type);
	}

	/** What could not be reported is not worth a second try; a node that refuses is asked less often. */
	async #post(body: string, type: string): Promise<void> {
		let ok = false;
		try {
			const send = this.#options.fetch ?? globalThis.fetch;
			const answer = await send(this.#endpoint, {
				method: "POST",
				body,
				headers: { "Content-Type": type },
				keepalive: true,
				credentials: "omit",
			});
			ok = answer.ok;
			await answer.body?.cancel();
		} catch {
			// Counts as refused.
		}
		this.#failures = ok ? 0 : this.#failures + 1;
		this.#skip = ok ? 0 : Math.min(2 ** this.#failures - 1, mostSkipped);
	}

	/** What is to be sent, if anything. */
	#body(): string | undefined {
		const report = this.#report();
		if (!report || !this.#options.before) return report && JSON.stringify(report);
		try {
			return JSON.stringify(this.#options.before(report));
		} catch (e) {
			console.error("rivulet: monitor: before:", e);
			return undefined;
		}
	}

	/** What has come together since the last one; `undefined` if nothing has. */
	#report(): Report | undefined {
		const count = (n: number) => Math.min(n, mostCounted);
		const report: Report = {
			sdk: VERSION,
			...(this.#transport && { transport: this.#transport }),
			connects: this.#connects.take(),
			round_trips: this.#roundTrips.take(),
			deliveries: this.#delays.take(),
			reconnects: count(this.#reconnects),
			gaps: count(this.#gaps),
			paints: this.#paints?.take() ?? {},
			errors: this.#errors.splice(0),
			more_errors: count(this.#moreErrors),
		};
		this.#reconnects = this.#gaps = this.#moreErrors = 0;
		const { connects, round_trips, deliveries, errors } = report;
		const lists = [connects, round_trips, deliveries, errors, Object.keys(report.paints)];
		const counts = report.reconnects + report.gaps + report.more_errors;
		return counts > 0 || lists.some((list) => list.length > 0) ? report : undefined;
	}
}

function endpointOf(url: string): string {
	return `${url.replace(/^ws/, "http").replace(/\/$/, "")}/v1/telemetry`;
}
