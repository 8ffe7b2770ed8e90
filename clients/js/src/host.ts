// A subscription as applications see it, and what it needs of its client.

import type { Backoff } from "./backoff.js";
import type { RivuletError } from "./errors.js";
import type { Hold } from "./hold.js";
import type { Had } from "./overlap.js";
import type { Routes, Subs } from "./routes.js";
import type { Sub } from "./subscription.js";
import type { Clock, Message, PositionStorage, Update } from "./types.js";

/** Where a subscription is: `paused` while the application has no room for more. */
export type SubscriptionState = "idle" | "subscribing" | "live" | "paused" | "ended";

/**
 * A cursor on a channel, or on the channels of a pattern. Iterate over it for its messages, in
 * one place at a time; leaving the loop leaves it as it is, and it may be iterated again. A `next()`
 * that was called takes a message, also where nobody waits for it any more.
 */
export interface Subscription<T = unknown> extends AsyncIterable<Message<T>> {
	/** The full name of the channel or pattern. */
	readonly channel: string;
	readonly state: SubscriptionState;
	/** Settles when it has begun for the first time, or cannot. Need not be heeded. */
	readonly ready: Promise<void>;
	/** Where to resume after what the application has handled: asked for the next after it. */
	readonly position: string | undefined;
	/** The same for a pattern: one of each stream. */
	readonly positions: readonly string[];
	/** Everything in order, `unsubscribed` last. */
	updates(): AsyncIterable<Update<T>>;
	/**
	 * Ends it. What waits is dropped, and iterations end; another subscription that overlaps, as a
	 * pattern, has it then, and what was on its way. Resolves when the node has let go. A durable
	 * session forgets the channel; to keep its place, close the client instead.
	 */
	unsubscribe(): Promise<void>;
}

/** @internal What a subscription needs of its client. */
export interface Host {
	readonly clock: Clock;
	readonly wait: Backoff;
	readonly storage: PositionStorage | undefined;
	readonly subs: Subs;
	readonly holds: Set<Hold>;
	/** What the application has, since there are patterns. */
	had: Had | undefined;
	/** Over HTTP each subscription has a stream of its own, and all of its messages. */
	apart: boolean;
	/** Where the node is told, while connected. */
	routes: Routes | undefined;
	remove(sub: Sub): unknown;
	/** Errors of callbacks. */
	caught(error: unknown): void;
	/** For those that watch the client. */
	tell(event: "gap", gap: { channel: string; reason: string }): void;
	tell(event: "error", error: RivuletError): void;
	tell(event: "message", message: Message<any>): void;
}
