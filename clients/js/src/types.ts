// The public types of the SDK: what an application sees.

import type { RivuletError } from "./errors.js";

/** A message of a channel. `T` is what its publisher put into `data`. */
export interface Message<T = unknown> {
	/** The full name, as in `chat:lobby`; of a pattern's messages, the very channel. */
	readonly channel: string;
	/** Grows within the channel, with holes; a hole is no loss. */
	readonly offset: number;
	/** Where to resume after this message; opaque. */
	readonly position: string;
	/** When it was stored, in Unix milliseconds by the node's clock. */
	readonly time: number;
	/** The value, as its publisher sent it, unchecked; `undefined` where the message is bytes. */
	readonly data: T;
	/** The bytes; `undefined` where the message is a JSON value. */
	readonly bytes?: Uint8Array;
	/** The publisher's idempotency key. */
	readonly id?: string;
	/** Who published, where known: the token's subject and the connection. */
	readonly user?: string;
	readonly client?: string;
	readonly headers?: Readonly<Record<string, string>>;
	readonly conflationKey?: string;
	/** The offset of the message of which this is a new version. */
	readonly updates?: number;
}

/** A connection that is subscribed to a channel. */
export interface Member<I = unknown> {
	readonly client: string;
	readonly user?: string;
	/** What the member's token says of it. */
	readonly info?: I;
	/** When it joined, in Unix milliseconds. */
	readonly since: number;
}

/** Who came and went, or, with `members`, who is there: it replaces what was known. */
export interface PresenceChange<I = unknown> {
	readonly members?: readonly Member<I>[];
	readonly joined: readonly Member<I>[];
	readonly left: readonly Member<I>[];
	/** How many connections and how many users there are. */
	readonly clients: number;
	readonly users: number;
	/** Not every node has answered: there may be more. */
	readonly partial: boolean;
}

export interface PresencePage<I = unknown> {
	readonly members: readonly Member<I>[];
	readonly clients: number;
	readonly users: number;
	/** The `after` of the next page; absent on the last. */
	readonly next?: string;
	readonly partial: boolean;
}

/** One thing a subscription has to tell, in the order of the channel. */
export type Update<T = unknown> =
	| { readonly type: "message"; readonly message: Message<T> }
	/** It has begun at the node, for the first time or again after a lost connection. */
	| { readonly type: "subscribed"; readonly recovered: boolean; readonly resumed: boolean }
	/** Replay has reached live. */
	| { readonly type: "caught_up" }
	/** Messages are gone for good and were not delivered; delivery goes on after them. */
	| {
			readonly type: "gap";
			/** The channel or pattern concerned. */
			readonly channel: string;
			/** `retention`, `purged`, `log_changed`, `reset` or another word of the node. */
			readonly reason: string;
			/** What an application does now, in a sentence. */
			readonly advice: string;
	  }
	| { readonly type: "deleted"; readonly channel: string; readonly offset: number }
	| ({ readonly type: "presence" } & PresenceChange)
	/** The last update there is: unsubscribed by the application, or refused for good. */
	| { readonly type: "unsubscribed"; readonly error?: RivuletError };

/** What a subscription starts with. At most one may be given; none is live from now. */
export interface Start {
	/** Everything after it, then live. */
	position?: string;
	/** The same for a pattern: one of each stream. */
	positions?: readonly string[];
	/** The newest so many messages, 1 to 1,000. */
	last?: number;
	/** Everything stored at or after it; a Date or Unix milliseconds. */
	since?: number | Date;
}

export interface SubscribeOptions extends Start {
	/**
	 * Keep the position in `ClientOptions.storage`, under this name (`true`: the channel's),
	 * and go on from there after a page was loaded anew. `position`, `last` and `since` say where
	 * to begin when nothing is stored. The key is `rivulet:HOST:position:NAME`. Tabs that share a
	 * storage share the position, and a tab that was slower goes on where the faster one was: take
	 * `sessionStorage` where each page keeps its own messages, `localStorage` where pages keep them
	 * together. Users share it too: take a name with the user in it. After a pattern was resumed so,
	 * some messages may come again.
	 */
	persist?: boolean | string;
	/**
	 * The node keeps how far the application is; needs `ClientOptions.session`. What was
	 * handled is acknowledged by itself.
	 */
	durable?: boolean;
	/** Leave out what a newer message outdates before it was sent. */
	conflate?: "key" | "last";
	/** At most so many messages a second once it has caught up, 1 to 1,000; needs `conflate`. */
	maxRate?: number;
	/**
	 * Only messages for which this CEL expression over `headers`, `user` and `client` is true; at most
	 * 1,024 bytes.
	 */
	filter?: string;
	/**
	 * Ask for `presence` updates. They come over a WebSocket; by other transports there are none, and
	 * messages come all the same: ask with `Channel.presence` there.
	 */
	presence?: boolean;
	/**
	 * Gets a token for this subscription alone, where the client's does not allow it: asked each time
	 * that it is subscribed, 10 s at most. Needs a WebSocket.
	 */
	token?: (channel: string) => string | Promise<string>;
	/**
	 * How many updates may wait for the application, 1 or more, 256 by default. When it is full the
	 * subscription is let go of at the node and taken up again, without loss, when half is free.
	 * Of a `durable` one 16 times as many may wait: when it is full, and has been emptied, the
	 * client connects anew, which all its subscriptions notice.
	 */
	buffer?: number;
}

/** Callbacks of a subscription, called in order, one at a time: a promise is waited for. */
export interface Handlers<T = unknown> {
	/** Every message. */
	message?: (message: Message<T>) => unknown;
	/** Every update that is not a message. */
	update?: (update: Update<T>) => unknown;
}

export interface PublishOptions {
	/**
	 * 1 to 128 bytes of printable ASCII, generated if not given; with one and the same key a message
	 * is stored once.
	 */
	idempotencyKey?: string;
	/** At most 32: names of up to 64 bytes, values of up to 1,024 without control characters. */
	headers?: Record<string, string>;
	/** Whole seconds, 1 to 315,360,000, until the message is gone: not milliseconds. */
	ttl?: number;
	/** Whole milliseconds, at most a year, until it is stored in the channel. */
	delay?: number;
	/** When it is stored in the channel, in place of `delay`: a Date or Unix milliseconds. */
	deliverAt?: number | Date;
	/**
	 * Store it only if the channel's last message has this offset, 0: if there is none. Else it is
	 * rejected with 4409. Not for one with `delay` or `deliverAt`.
	 */
	expectedOffset?: number;
	/** Do not deliver it to this very connection; over HTTP there is none, and it comes back. */
	excludeSelf?: boolean;
	/**
	 * A newer message with the same one outdates this one, where a subscription has `conflate`: 1 to
	 * 128 bytes of printable ASCII without space.
	 */
	conflationKey?: string;
	/** The offset of the message of which this is a new version; one that is stored, and no version. */
	updates?: number;
	/**
	 * What to do without a connection: `wait` (default) in the bounded queue until there is one,
	 * or `fail` at once.
	 */
	offline?: "wait" | "fail";
	/**
	 * Milliseconds after which it is given up, 120,000 by default: a namespace's `duplicate_window`,
	 * in which it is stored once. Where that is shorter, this must be shorter, or it may be stored
	 * twice.
	 */
	timeout?: number;
	/** Gives it up: it rejects with 4503, or with 4504 where it was sent and may be stored. */
	signal?: AbortSignal;
}

/** The message is stored, or scheduled where `schedule` is there. */
export interface Published {
	readonly channel: string;
	readonly offset?: number;
	readonly position?: string;
	readonly time?: number;
	/** It had been stored before, under the same key. */
	readonly duplicate: boolean;
	readonly schedule?: string;
	readonly deliverAt?: number;
}

export interface HistoryOptions {
	/** A position: messages after it, as of the last page's with `asc`. */
	after?: string;
	/** A position: messages before it, as of the last page's with `desc`. */
	before?: string;
	/** Messages stored at or after it; a Date or Unix milliseconds. */
	since?: number | Date;
	/** 1 to 1,000; 100 by default. */
	limit?: number;
	/** Oldest first, or newest first, which is the default. */
	order?: "asc" | "desc";
	/** `latest`: the newest version of each message, in its place. */
	fold?: "latest";
}

export interface HistoryPage<T = unknown> {
	readonly messages: readonly Message<T>[];
	/** Where the next page begins: `after` for `asc`, `before` for `desc`. */
	readonly position: string;
	readonly more: boolean;
	readonly recovered: boolean;
	readonly reason?: string;
}

export interface PresenceOptions {
	/** 1 to 1,000; 100 by default. */
	limit?: number;
	/** The `next` of the page before. */
	after?: string;
	/** Numbers only. */
	counts?: boolean;
}

/** See `machine.ts` for which state follows which. */
export type State =
	| "initialized"
	| "connecting"
	| "connected"
	| "disconnected"
	| "retrying"
	| "closed";

export type TransportName = "websocket" | "sse" | "poll";

export interface StateChange {
	readonly state: State;
	readonly previous: State;
	/** Why there is no connection: `retrying`, `disconnected` and `closed`. */
	readonly error?: RivuletError;
	/** Milliseconds until the next attempt, in `retrying`; absent while offline: it is long then. */
	readonly retryIn?: number;
	/** In `connected`. */
	readonly transport?: TransportName;
	readonly node?: string;
	readonly client?: string;
	/** In `connected` with `session`: the node knew it. */
	readonly resumed?: boolean;
}

/** Where positions are kept across page loads: `localStorage` fits as it is. */
export interface PositionStorage {
	getItem(key: string): string | null | Promise<string | null>;
	setItem(key: string, value: string): unknown;
	removeItem(key: string): unknown;
}

/** Why a token is asked for. */
export type TokenReason = "connect" | "expiring" | "rejected";

export interface ClientOptions {
	/** Further nodes; after a failure the next is tried, in turn. */
	urls?: readonly string[];
	/**
	 * A token, or how to get one: asked at every connect, before the token expires, and once
	 * more when the node refuses it. Throw a `RivuletError` with code 4401 or 4403 to give up.
	 */
	token?: string | ((reason: TokenReason) => string | Promise<string>);
	/** Of the application, for the node's logs; at most 64 bytes. */
	name?: string;
	/** The durable session that this client continues: 1 to 64 bytes of `A-Z a-z 0-9 . _ -`. */
	session?: string;
	/** `json` unless given; see `@rivulet-rt/client/protobuf`. */
	codec?: Codec;
	/** Which may be used, in the order of preference: all three by default. */
	transports?: readonly TransportName[];
	/** Where positions of subscriptions with `persist`, and the transport that worked, are kept. */
	storage?: PositionStorage;
	/** Milliseconds: the first wait's bound 250, doubled up to 20,000, evenly random below it. */
	backoff?: { base?: number; cap?: number };
	/** Milliseconds for one attempt up to `connected`; 10,000. */
	connectTimeout?: number;
	/** Milliseconds for the reply to a command; 15,000. */
	replyTimeout?: number;
	/** Milliseconds of silence after which the client asks for a sign of life; 30,000, or less where the node says. */
	pingInterval?: number;
	/**
	 * Most publishes and questions that wait to be sent, 100 (`messages`) of about
	 * 1,048,576 bytes (`bytes`): more are refused with 4429.
	 */
	queue?: { messages?: number; bytes?: number };
	/** Heed the page: online, offline, hidden, frozen, back/forward cache. Where there is one: true. */
	lifecycle?: boolean;
	/** Uncaught errors of the application's callbacks, of listeners too; `console.error` unless given. */
	onError?: (error: unknown) => void;
	/** In place of the globals. */
	WebSocket?: WebSocketClass;
	fetch?: typeof fetch;
	random?: () => number;
	clock?: Clock;
}

/** Timers and time, injectable for tests. `now` is in milliseconds and must not go back. */
export interface Clock {
	now(): number;
	setTimeout(callback: () => void, ms: number): unknown;
	clearTimeout(timer: unknown): void;
}

/** As much of a WebSocket as is used. */
export interface WebSocketLike {
	binaryType: string;
	readonly readyState: number;
	readonly bufferedAmount: number;
	readonly protocol: string;
	onopen: ((event: any) => void) | null;
	onmessage: ((event: any) => void) | null;
	onclose: ((event: any) => void) | null;
	onerror: ((event: any) => void) | null;
	send(data: any): void;
	close(code?: number, reason?: string): void;
}

export type WebSocketClass = new (url: string, protocols?: string[]) => WebSocketLike;

/**
 * A command or an event as an object in the names of the protocol's JSON, one command or event
 * beside `id`: `{ id: 1, subscribe: { channel: "chat:lobby" } }`. `data` is the value, bytes are
 * `data_binary`: a `Uint8Array`.
 */
export interface Frame {
	id?: number;
	/** Of a push over HTTP: the pattern by whose stream it came. */
	via?: string;
	[name: string]: any;
}

/** How frames are written. */
export interface Codec {
	/** The WebSocket subprotocol. */
	readonly protocol: string;
	/** A command, to what `WebSocket.send` takes. */
	encode(frame: Frame): string | Uint8Array;
	/** What arrived, a string or an ArrayBuffer, to an event; throws `RivuletError` 4200. */
	decode(data: string | ArrayBuffer): Frame;
}

/** @internal What a transport tells its client. */
export interface TransportEvents {
	/** An event of the node. The first is `connected`. */
	event(frame: Frame): void;
	/** Once, the last: it has ended, or never came to be. Nothing comes after it. */
	end(end: TransportEnd): void;
	/** Something arrived that was no event (a heartbeat). */
	alive(): void;
}

/** @internal Why a transport has ended. */
export interface TransportEnd {
	/** A close code of the protocol or of RFC 6455; 1006 where there was none. */
	code: number;
	reason: string;
	/** The HTTP status where the answer was HTTP. */
	status?: number;
	/** From Retry-After. */
	retryAfterMs?: number;
	/** This network, or this browser, seems not to let the transport through. */
	blocked?: boolean;
	/** What came was no frame of the protocol: a new connection helps perhaps, a fast one not. */
	garbled?: boolean;
}

/** @internal What a transport is opened with. */
export interface TransportOptions {
	/** Of the node, http or https, without a slash at the end. */
	base: string;
	codec: Codec;
	/** As in `connect`: sent as the first command or as header. */
	token?: string | undefined;
	name?: string | undefined;
	session?: string | undefined;
	/** The client was connected before. */
	resume: boolean;
	/** Those that the application allows; all where it does not say. */
	transports?: readonly TransportName[] | undefined;
	WebSocket?: WebSocketClass | undefined;
	fetch: typeof fetch;
	clock: Clock;
}

/**
 * @internal One attempt at one connection. Commands go in as frames with an `id`, replies come out
 * with the same; a transport over HTTP does what the command asks by requests.
 */
export interface Transport {
	send(frame: Frame): void;
	/** Bytes accepted and not yet sent. */
	readonly buffered: number;
	/** Ends it; `end` is not called any more. */
	close(code?: number, reason?: string): void;
}

/** @internal */
export type OpenTransport = (options: TransportOptions, events: TransportEvents) => Transport;
