// What a client has to do with one channel.

import type { Subscription } from "./host.js";
import type {
	Handlers,
	HistoryOptions,
	HistoryPage,
	PresenceOptions,
	PresencePage,
	Published,
	PublishOptions,
	SubscribeOptions,
} from "./types.js";

/** A channel, or a pattern, which can be subscribed to only. `T` is what its messages hold. */
export interface Channel<T = unknown> {
	/** The full name, as in `chat:lobby`. */
	readonly name: string;
	/**
	 * Stores a message; a `Uint8Array` is sent as bytes. Resolves when it is stored. It is tried
	 * again with the same idempotency key over lost connections and temporary errors. Messages
	 * are stored in the order of the calls, unless the node refuses one for a while: wait for each
	 * where that matters. Rejects with a RivuletError: code 4504 says that it may
	 * be stored, any other that it is not.
	 */
	publish(data: T | Uint8Array, options?: PublishOptions): Promise<Published>;
	/** Reads what is stored. Rejects with 4408 if there is no answer within `replyTimeout`. */
	history(options?: HistoryOptions): Promise<HistoryPage<T>>;
	/** Asks who is subscribed. */
	presence<I = unknown>(options?: PresenceOptions): Promise<PresencePage<I>>;
	/**
	 * Subscribes; with handlers these are called, else iterate. A client has one subscription to
	 * a channel or pattern at a time: a second throws 4409.
	 */
	subscribe(options?: SubscribeOptions, handlers?: Handlers<T>): Subscription<T>;
}
