// A transport under test, without a client above it.

import { systemClock } from "../../src/clock.js";
import { json } from "../../src/json.js";
import type {
	Frame,
	OpenTransport,
	Transport,
	TransportEnd,
	TransportOptions,
} from "../../src/types.js";
import { until } from "./until.js";

/** What a transport has told, in order, and how to ask it something. */
export class Wire {
	readonly frames: Frame[] = [];
	readonly ends: TransportEnd[] = [];
	alive = 0;
	readonly transport: Transport;
	private id = 1;

	constructor(open: OpenTransport, base: string, more: Partial<TransportOptions> = {}) {
		const options = { base, codec: json, resume: false, fetch, clock: systemClock(), ...more };
		this.transport = open(options, {
			event: (frame) => {
				if (this.ends.length) throw new Error(`${JSON.stringify(frame)} after the end`);
				this.frames.push(frame);
			},
			end: (end) => this.ends.push(end),
			alive: () => this.alive++,
		});
	}

	/** Waits for `connected`. */
	async up(): Promise<this> {
		await this.event((f) => f.connected);
		return this;
	}

	/** Sends a command and waits for its reply. */
	async call(command: Frame): Promise<Frame> {
		const id = ++this.id;
		this.transport.send({ id, ...command });
		return this.event((f) => f.id === id);
	}

	/** Waits for an event. */
	async event(is: (f: Frame) => unknown): Promise<Frame> {
		let found: Frame | undefined;
		await until(
			() => {
				found = this.frames.find(is);
				return found !== undefined || this.ends.length > 0;
			},
			() => JSON.stringify(this.frames),
		);
		if (!found) throw new Error(`ended: ${JSON.stringify(this.ends)}`);
		return found;
	}

	/** Waits for the end. */
	async end(): Promise<TransportEnd> {
		await until(
			() => this.ends.length > 0,
			() => JSON.stringify(this.frames),
		);
		return this.ends[0] as TransportEnd;
	}

	/** The data of the messages of a channel so far, or of those that came by a pattern. */
	data(channel: string, via?: string): unknown[] {
		return this.frames
			.filter((f) => f.message?.channel === channel && f.via === via)
			.map((f) => f.message.data);
	}

	/** Waits until the messages of a channel are these. */
	async have(channel: string, data: unknown[], via?: string): Promise<void> {
		const have = () => this.data(channel, via);
		await until(
			() => have().length >= data.length,
			() => `${JSON.stringify(have())} ${JSON.stringify(this.ends)}`,
		);
		if (JSON.stringify(have()) !== JSON.stringify(data))
			throw new Error(`have ${JSON.stringify(have())}, want ${JSON.stringify(data)}`);
	}
}
