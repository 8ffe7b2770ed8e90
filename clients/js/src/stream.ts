// The application's side of a subscription: what it iterates over, or has its handlers called with.

import { RivuletError } from "./errors.js";
import { type Handled, Inbox } from "./inbox.js";
import type { Handlers, Message, SubscribeOptions, Update } from "./types.js";

/** @internal */
export class Stream<T> {
	readonly ready: Promise<void>;
	readonly inbox: Inbox;
	readonly #pattern: boolean;
	readonly #handled: boolean;
	#error: RivuletError | undefined;
	#isReady: (error?: RivuletError) => void = () => {};

	constructor(
		pattern: boolean,
		{ position = "", positions = [] }: SubscribeOptions,
		handlers: Handlers<T> | undefined,
		to: { handled(item: Handled): void; taken(): void; caught(error: unknown): void },
	) {
		this.#pattern = pattern;
		this.inbox = new Inbox(pattern, to.handled, to.taken);
		this.inbox.handled.set([position, ...positions]);
		this.ready = new Promise((resolve, reject) => {
			this.#isReady = (error) => (error ? reject(error) : resolve());
		});
		this.ready.catch(() => {}); // it need not be heeded
		this.#handled = handlers !== undefined;
		if (handlers) void this.#handle(handlers, to.caught);
	}

	get positions(): readonly string[] {
		return this.inbox.handled.list();
	}

	get position(): string | undefined {
		return this.#pattern ? undefined : this.positions[0];
	}

	async *[Symbol.asyncIterator](): AsyncGenerator<Message<T>> {
		for await (const update of this.updates()) {
			if (update.type === "message") yield update.message;
		}
		if (this.#error) throw this.#error;
	}

	async *updates(): AsyncGenerator<Update<T>> {
		if (this.#handled) throw new RivuletError(4409, "the subscription has handlers");
		yield* this.#all();
	}

	async *#all(): AsyncGenerator<Update<T>> {
		for (let u = await this.inbox.next(); u; u = await this.inbox.next()) yield u;
	}

	async #handle({ message, update }: Handlers<T>, caught: (e: unknown) => void): Promise<void> {
		for await (const u of this.#all()) {
			try {
				await (u.type === "message" ? message?.(u.message) : update?.(u));
			} catch (e) {
				caught(e);
			}
		}
	}

	/** It has begun, or, with an error, will not. */
	protected settled(error?: RivuletError): void {
		this.#isReady(error);
	}

	/** Nothing comes any more. */
	protected finish(error?: RivuletError): void {
		this.#error = error;
		this.inbox.end({ type: "unsubscribed", ...(error && { error }) });
		this.settled(error ?? new RivuletError(4700, "unsubscribed"));
	}
}
