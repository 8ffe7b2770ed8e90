// Monitoring of clients in the field, opt-in: how long connecting, a round trip and delivery take,
// reconnects, gaps, paints and errors. Reports hold numbers and names of errors alone: no channel,
// no user, no token, no message, no text of an error.

import type { Client } from "../client.js";
import type { StateChange } from "../types.js";
import { VERSION } from "../version.js";
import { errorsOf, type Reported } from "./errors.js";
import { paintsOf } from "./paint.js";
import { Delays, Samples } from "./samples.js";

/** Options of `monitor`. */
export interface MonitorOptions {
	/** Where reports go; the node's own `/v1/telemetry` unless given. */
	endpoint?: string;
	/** The share of pages that report, 0 to 1: all by default. Decided once, at the beginning. */
	sample?: number;
	/** Milliseconds between reports, 30,000 by default and at least 1,000. */
	interval?: number;
	/** Uncaught errors and rejections that nobody handled: true by default, in pages. */
	errors?: boolean;
	/** First and largest contentful paint: true by default, in pages. */
	paint?: boolean;
	/** Sees each report before it goes, and may return another, or `undefined` for none. */
	before?: (report: Report) => Report | undefined;
	/** In place of the globals. */
	fetch?: typeof fetch;
	random?: () => number;
}

/** What is sent, at most some kilobytes; times are milliseconds. */
export interface Report {
	sdk: string;
	transport?: string;
	/** From an attempt to `connected`. */
	connects: number[];
	round_trips: number[];
	/**
	 * From the store to the client, above the fastest that this page has seen, plus half the
	 * fastest round trip: so it does not matter what the client's clock shows.
	 */
	deliveries: number[];
	reconnects: number;
	gaps: number;
	paints: { first?: number; largest?: number };
	errors: Reported[];
	/** Errors beyond those that were reported. */
	more_errors: number;
}

/** A running monitor. */
export interface Monitor {
	/** Sends what there is now. */
	flush(): void;
	/** Sends what there is, and ends. */
	stop(): void;
}

/** Reports a page, at most: the rest of a long life is not more interesting than its beginning. */
const mostReports = 1_000;

/** Watches a client until `stop`; `url` is the node's, as the client has it. */
export function monitor(client: Client, url: string, options: MonitorOptions = {}): Monitor {
	const { sample = 1, random = Math.random } = options;
	if (!(random() < sample)) return { flush: () => {}, stop: () => {} };
	return new Watch(client, options.endpoint ?? endpointOf(url), options);
}

class Watch implements Monitor {
	readonly #endpoint: string;
	readonly #options: MonitorOptions;
	readonly #connects = new Samples();
	readonly #roundTrips = new Samples();
	readonly #delays = new Delays();
	readonly #errors: Reported[] = [];
	#moreErrors = 0;
	#reconnects = 0;
	#gaps = 0;
	#paints: Report["paints"] = {};
	#transport: string | undefined;
	#tryingSince: number | undefined;
	#wasConnected = false;
	#sent = 0;
	readonly #ends: (() => void)[] = [];

	constructor(client: Client, endpoint: string, options: MonitorOptions) {
		this.#endpoint = endpoint;
		this.#options = options;
		this.#ends.push(
			client.on("state", (change) => this.#onState(change)),
			client.on("round_trip", ({ ms }) => this.#onRoundTrip(ms)),
			client.on("gap", () => this.#gaps++),
			client.on("message", ({ time }) => this.#delays.add(Date.now() - time)),
		);
		if (options.errors !== false) this.#ends.push(errorsOf((e) => this.#onError(e)));
		if (options.paint !== false) this.#ends.push(paintsOf(this.#paints));
		const timer = setInterval(() => this.flush(), Math.max(options.interval ?? 30_000, 1_000));
		this.#ends.push(() => clearInterval(timer));
		if (typeof document !== "undefined") {
			const hidden = () => document.visibilityState === "hidden" && this.#send(true);
			document.addEventListener("visibilitychange", hidden);
			this.#ends.push(() => document.removeEventListener("visibilitychange", hidden));
		}
	}

	flush(): void {
		this.#send(false);
	}

	stop(): void {
		this.#send(true);
		for (const end of this.#ends.splice(0)) end();
		this.#sent = mostReports;
	}

	#onState({ state, transport }: StateChange): void {
		if (state === "connecting") this.#tryingSince = performance.now();
		if (state !== "connected") return;
		if (this.#tryingSince !== undefined) this.#connects.add(performance.now() - this.#tryingSince);
		this.#tryingSince = undefined;
		if (this.#wasConnected) this.#reconnects++;
		this.#wasConnected = true;
		this.#transport = transport;
	}

	#onRoundTrip(ms: number): void {
		this.#roundTrips.add(ms);
		this.#delays.roundTrip(ms);
	}

	#onError(error: Reported): void {
		if (this.#errors.length < 20) this.#errors.push(error);
		else this.#moreErrors++;
	}

	#send(leaving: boolean): void {
		const report = this.#report();
		const wanted = report && (this.#options.before ? this.#options.before(report) : report);
		if (!wanted || this.#sent >= mostReports) return;
		this.#sent++;
		const body = JSON.stringify(wanted);
		// As text: a page of another origin needs no leave for that beforehand, and a beacon gets none.
		const type = "text/plain;charset=utf-8";
		if (leaving && typeof navigator !== "undefined" && "sendBeacon" in navigator) {
			if (navigator.sendBeacon(this.#endpoint, new Blob([body], { type }))) return;
		}
		const send = this.#options.fetch ?? globalThis.fetch;
		send(this.#endpoint, {
			method: "POST",
			body,
			headers: { "Content-Type": type },
			keepalive: true,
			credentials: "omit",
		}).catch(() => {}); // what could not be reported is not worth a second try
	}

	/** What has come together since the last one; `undefined` if nothing has. */
	#report(): Report | undefined {
		const report: Report = {
			sdk: VERSION,
			...(this.#transport && { transport: this.#transport }),
			connects: this.#connects.take(),
			round_trips: this.#roundTrips.take(),
			deliveries: this.#delays.take(),
			reconnects: this.#reconnects,
			gaps: this.#gaps,
			paints: { ...this.#paints },
			errors: this.#errors.splice(0),
			more_errors: this.#moreErrors,
		};
		const numbers = [report.connects, report.round_trips, report.deliveries, report.errors];
		const counts = report.reconnects + report.gaps + report.more_errors;
		const empty = counts === 0 && numbers.every((n) => n.length === 0);
		if (empty && Object.keys(report.paints).length === 0) return undefined;
		this.#reconnects = this.#gaps = this.#moreErrors = 0;
		for (const key of Object.keys(this.#paints)) delete this.#paints[key as keyof Report["paints"]];
		return report;
	}
}

function endpointOf(url: string): string {
	return `${url.replace(/^ws/, "http").replace(/\/$/, "")}/v1/telemetry`;
}
