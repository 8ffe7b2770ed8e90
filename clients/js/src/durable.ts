// Acknowledgements of a durable subscription (PROTOCOL.md, section 12).

import type { Backoff } from "./backoff.js";
import type { Link, Reply } from "./connection.js";
import { offsetOf, Places } from "./cursor.js";
import type { RivuletError } from "./errors.js";

/**
 * One acknowledgement is under way at a time; the next takes along whatever was handled
 * meanwhile. Before the end none is waited for.
 */
export class Acks {
	/**
	 * Counts how often places from before ceased to mean anything. What was delivered in an
	 * earlier life is not acknowledged: that would undo an operator's reset.
	 */
	life = 1;
	#want = "";
	#sent = "";
	#busy: Link | undefined;
	/** What came by this link: nothing after it may be acknowledged (P-12.6). */
	#came = new Places(false);

	/** Notes a position that the application has reached. */
	reached(position: string | undefined, life: number | undefined): void {
		if (position && life === this.life) this.#want = position;
	}

	/** A link has begun there: what was under way may be lost. */
	begun(anew: boolean, positions: string[]): void {
		this.#came = new Places(false, positions);
		this.#busy = undefined;
		this.#sent = "";
		if (anew) this.forget();
	}

	came(positions: string[]): void {
		this.#came.set(positions);
	}

	forget(): void {
		this.life++;
		this.#want = this.#sent = "";
	}

	/** Sends what there is to be acknowledged, unless an answer is still to come and it is not the `last`. */
	send(
		link: Link,
		channel: string,
		wait: Backoff,
		refused: (error: RivuletError) => void,
		last?: boolean,
	): void {
		const want = this.#want;
		if (!want || want === this.#sent || (this.#busy === link && !last)) return;
		if (this.#came.before(want, offsetOf(want) || 0)) return; // when that has come again
		this.#busy = link;
		this.#sent = want;
		const answered: Reply = (_, error) => {
			if (this.#busy !== link) return;
			this.#busy = undefined;
			if (!error) return this.send(link, channel, wait, refused);
			this.#sent = ""; // again with the next that is handled
			if (!link.isLost) refused(error);
		};
		link.call({ ack: { channel, position: want } }, answered, undefined, wait);
	}
}
