// Tokens: where they come from.

import { RivuletError } from "./errors.js";
import type { ClientOptions, Clock, TokenReason } from "./types.js";

/** Gets tokens from the application. */
export class Tokens {
	readonly #token: ClientOptions["token"];
	readonly #clock: Clock;
	readonly #timeout: number;
	#timers = new Set<unknown>();

	constructor(token: ClientOptions["token"], clock: Clock, timeout: number) {
		this.#token = token;
		this.#clock = clock;
		this.#timeout = timeout;
	}

	/** Whether another one can be had. */
	get renewable(): boolean {
		return typeof this.#token === "function";
	}

	/** Rejects with what the application throws, or 4408 where it takes too long. */
	async get(reason: TokenReason): Promise<string | undefined> {
		const token = this.#token;
		if (typeof token !== "function") return token;
		let timer: unknown;
		const late = new Promise<never>((_, reject) => {
			timer = this.#clock.setTimeout(
				() => reject(new RivuletError(4408, "no token in time", { temporary: true })),
				this.#timeout,
			);
		});
		this.#timers.add(timer);
		try {
			return await Promise.race([token(reason), late]);
		} finally {
			this.#timers.delete(timer);
			this.#clock.clearTimeout(timer);
		}
	}

	/** Nobody waits any more. */
	close(): void {
		for (const timer of this.#timers) this.#clock.clearTimeout(timer);
		this.#timers.clear();
	}
}

/** What the application threw, as an error of the SDK. */
export function tokenError(cause: unknown): RivuletError {
	if (cause instanceof RivuletError) return cause;
	return new RivuletError(4503, "no token", {
		field: "token",
		cause,
		advice: "See the cause; the client asks again.",
	});
}
