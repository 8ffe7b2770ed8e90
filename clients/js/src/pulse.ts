// Signs of life of a connection (PROTOCOL.md, section 7).

import type { Link } from "./connection.js";
import type { Clock } from "./types.js";

/** Most silence of a node (P-7.3) and most pause between signs of life, in milliseconds. */
const mostSilence = 90_000;
/** How long a node may take to answer a client that has slept. */
const wakeDeadline = 5_000;
/** How late a timer may be before it counts as a sleep. */
const lateness = 5_000;
/** A node's ping interval where it does not say. */
const usualPing = 30_000;

/** Asks a node whether it is there, and ends the link if not. */
export class Pulse {
	readonly #link: Link;
	readonly #clock: Clock;
	readonly #roundTrip: (ms: number) => void;
	/** Silence after which it asks, and after which nobody is there, in milliseconds. */
	readonly #ping: number;
	readonly #silence: number;
	#pinged = 0;
	#timer: unknown;
	#deadline: unknown;

	/** Of a link that is up: `ping` is the application's, in milliseconds, `seconds` the node's. */
	constructor(
		link: Link,
		clock: Clock,
		ping = 30_000,
		seconds: number,
		roundTrip: (ms: number) => void,
	) {
		this.#link = link;
		this.#clock = clock;
		this.#roundTrip = roundTrip;
		const interval = seconds > 0 ? seconds * 1000 : usualPing;
		this.#ping = Math.min(ping, interval);
		this.#silence = Math.min(mostSilence, 3 * interval);
		if (link.pongs.length > 0) this.ping();
		this.#listen();
	}

	/** Asks for a sign of life. */
	ping(): void {
		this.#pinged = this.#clock.now();
		this.#link.wire.send({ ping: {} });
	}

	/** Here it is. */
	pong(): void {
		const { pongs, heard } = this.#link;
		const ms = heard - this.#pinged;
		if (pongs.length > 0) this.#roundTrip(ms);
		for (const pong of pongs.splice(0)) pong(ms);
	}

	/** After a sleep: is there still somebody? */
	probe(): void {
		if (this.#deadline !== undefined) return;
		this.#link.ping();
		this.#link.asked = true;
		this.#deadline = this.#clock.setTimeout(() => {
			this.#deadline = undefined;
			if (this.#link.asked) this.#link.fail("no sign of life");
		}, wakeDeadline);
	}

	/** The link is gone. */
	stop(): void {
		this.#clock.clearTimeout(this.#timer);
		this.#clock.clearTimeout(this.#deadline);
	}

	/** Waits for the next moment at which silence has a meaning. */
	#listen(): void {
		const link = this.#link;
		const due = link.heard + (link.asked ? this.#silence : this.#ping);
		this.#arm(due - this.#clock.now(), () => {
			const now = this.#clock.now();
			const quiet = now - link.heard;
			if (now - due > lateness) {
				this.probe();
				return this.#arm(wakeDeadline, () => this.#listen());
			}
			if (quiet >= this.#silence) return link.fail("no sign of life");
			if (quiet >= this.#ping && !link.asked) link.ping();
			link.asked ||= quiet >= this.#ping;
			this.#listen();
		});
	}

	#arm(ms: number, run: () => void): void {
		this.#clock.clearTimeout(this.#timer);
		if (!this.#link.isLost) this.#timer = this.#clock.setTimeout(run, Math.max(ms, 0));
	}
}
