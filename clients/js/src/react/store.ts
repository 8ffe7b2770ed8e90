// What components share of one channel: one subscription, however many of them look at it.

import type { Client } from "../client.js";
import { RivuletError } from "../errors.js";
import type { Subscription } from "../host.js";
import { canonical } from "../names.js";
import type {
	Member,
	Message,
	PresenceChange,
	SubscribeOptions,
	TransportName,
	Update,
} from "../types.js";

/** What `useChannel` shows of a channel. */
export interface ChannelView<T> {
	/** The newest messages, the oldest first; at most `keep`. */
	readonly messages: readonly Message<T>[];
	/** It has begun, and goes on by itself after lost connections; `false` at first and after its end. */
	readonly live: boolean;
	/** Messages were lost for good before the newest ones: what to do, in a sentence. */
	readonly gap: string | undefined;
	/** Why the subscription has ended. */
	readonly error: RivuletError | undefined;
}

/** What `usePresence` shows of a channel. */
export interface PresenceView<I> {
	/** Who is there; `undefined` while that is not known, or where they are too many to be told. */
	readonly members: readonly Member<I>[] | undefined;
	readonly clients: number;
	readonly users: number;
	/** Not every node has answered: there may be more. */
	readonly partial: boolean;
	readonly error: RivuletError | undefined;
}

/** Options of a subscription, and how many messages a component sees. */
export interface ChannelOptions extends SubscribeOptions {
	/** Newest messages to keep, 100 by default. */
	keep?: number;
}

/** How often members are asked for where they are not told of, in milliseconds. */
const presencePolls = 10_000;

/** What is shown while nobody watches; the same object each time, as React wants it. */
export const nothing: ChannelView<any> = {
	messages: [],
	live: false,
	gap: undefined,
	error: undefined,
};

/** The same for presence. */
export const nobody: PresenceView<any> = {
	members: undefined,
	clients: 0,
	users: 0,
	partial: false,
	error: undefined,
};

/** One channel of one client. */
export class ChannelStore {
	view: ChannelView<any> = nothing;
	presence: PresenceView<any> = nobody;
	readonly #client: Client;
	readonly #name: string;
	readonly #remove: () => void;
	readonly #watchers = new Map<() => void, boolean>();
	/** Of the first component that shows messages. */
	#options: ChannelOptions | undefined;
	/** The subscription was begun without them. */
	#bare = false;
	#sub: Subscription<any> | undefined;
	/** Asked for with the subscription. */
	#pushes = false;
	/** How the next subscription goes on where the last one was. */
	#next: SubscribeOptions | undefined;
	/** The node tells of no members by itself. */
	#untold = false;
	#transport: TransportName | undefined;
	readonly #unheed: () => void;
	#timer: ReturnType<typeof setTimeout> | undefined;
	#planned = false;
	#settling = false;
	#again = false;
	#telling = false;

	constructor(client: Client, name: string, remove: () => void) {
		this.#client = client;
		this.#name = name;
		this.#remove = remove;
		this.#transport = client.transport;
		this.#unheed = client.on("state", ({ transport }) => {
			if (!transport) return;
			this.#transport = transport;
			this.#plan();
		});
	}

	/** Calls `changed` after every change until what is returned is called. */
	watch(changed: () => void, presence: boolean, options?: ChannelOptions): () => void {
		this.#options ??= options;
		this.#watchers.set(changed, presence);
		this.#plan();
		return () => {
			this.#watchers.delete(changed);
			this.#plan();
		};
	}

	/** Once all components of this turn have come and gone: React mounts and unmounts at will. */
	#plan(): void {
		if (this.#planned) return;
		this.#planned = true;
		setTimeout(() => {
			this.#planned = false;
			void this.#settle();
		});
	}

	/** One exchange at a time: what is wanted may change while the node lets go of the last. */
	async #settle(): Promise<void> {
		this.#again = true;
		if (this.#settling) return;
		this.#settling = true;
		while (this.#again) {
			this.#again = false;
			await this.#exchange();
		}
		this.#settling = false;
	}

	async #exchange(): Promise<void> {
		const wanted = this.#watchers.size > 0;
		if (!wanted) {
			this.#remove();
			this.#unheed();
		}
		const old = this.#sub;
		const pushes = this.#wantsMembers() && this.#mayBeTold();
		const anew = this.#bare && this.#options !== undefined;
		const same = !wanted || (pushes === this.#pushes && !anew);
		if (wanted === (old !== undefined) && same) return this.#askMembers();
		const options = this.#options ?? {};
		if (!old) {
			this.#subscribe(this.#next ?? options, pushes);
			return this.#askMembers();
		}
		// A durable subscription is not to lose its place: its members are asked for.
		if (wanted && options.durable && !anew) return this.#askMembers();
		this.#sub = undefined;
		if (anew) this.#show({ messages: [] }); // they come again, with those before them
		this.#next = anew ? undefined : resume(old, options);
		await old.unsubscribe();
		this.#again = true;
	}

	#wantsMembers(): boolean {
		return [...this.#watchers.values()].includes(true);
	}

	/** Pushes come over WebSockets alone, and not from every namespace. */
	#mayBeTold(): boolean {
		return !this.#untold && (this.#transport ?? "websocket") === "websocket";
	}

	/** Whether members are to be asked for. */
	#asks(): boolean {
		if (!this.#wantsMembers()) return false;
		return !this.#mayBeTold() || (this.#sub !== undefined && !this.#pushes);
	}

	#subscribe(options: SubscribeOptions, presence: boolean): void {
		this.#pushes = presence;
		this.#bare = this.#options === undefined;
		try {
			const { keep: _, ...known } = options as ChannelOptions;
			const channel = this.#client.channel(this.#name);
			const sub = channel.subscribe({ ...known, ...(presence && { presence }) });
			this.#sub = sub;
			void this.#follow(sub);
		} catch (e) {
			this.#show({ live: false, error: asError(e) });
		}
	}

	async #follow(sub: Subscription<any>): Promise<void> {
		for await (const update of sub.updates()) {
			if (this.#sub !== sub) return;
			if (update.type === "unsubscribed") this.#ended(sub, update.error);
			else this.#take(update);
		}
	}

	#take(update: Update<any>): void {
		switch (update.type) {
			case "message": {
				const { keep = 100 } = this.#options ?? {};
				const messages = keep > 0 ? [...this.view.messages, update.message].slice(-keep) : [];
				this.#show({ messages });
				break;
			}
			case "subscribed":
				this.#show({ live: true, error: undefined });
				break;
			case "gap":
				this.#show({ gap: update.advice });
				break;
			case "deleted": {
				const { channel, offset } = update;
				const gone = (m: Message) => m.channel === channel && m.offset === offset;
				this.#show({ messages: this.view.messages.filter((m) => !gone(m)) });
				break;
			}
			case "presence":
				this.#showPresence({ ...apply(this.presence, update), error: undefined });
		}
	}

	#ended(sub: Subscription, error: RivuletError | undefined): void {
		this.#sub = undefined;
		this.#next = resume(sub, this.#options ?? {});
		if (error?.field === "presence" && this.#pushes) {
			this.#untold = true; // this namespace has no presence, or the token does not allow it
			this.#plan();
		} else {
			this.#show({ live: false, error });
		}
		if (error) this.#showPresence({ ...this.presence, error });
	}

	#askMembers(): void {
		clearTimeout(this.#timer);
		if (!this.#asks()) return;
		this.#timer = setTimeout(() => this.#askMembers(), presencePolls);
		this.#client
			.channel(this.#name)
			.presence({ limit: 1000 })
			.then(
				({ members, clients, users, partial }) =>
					this.#showPresence({ members, clients, users, partial, error: undefined }),
				(e) => this.#showPresence({ ...this.presence, error: asError(e) }),
			);
	}

	#show(change: Partial<ChannelView<any>>): void {
		this.view = { ...this.view, ...change };
		this.#tell();
	}

	#showPresence(presence: PresenceView<any>): void {
		this.presence = presence;
		this.#tell();
	}

	/** Once for what comes together: a replay of a thousand messages is not a thousand renderings. */
	#tell(): void {
		if (this.#telling) return;
		this.#telling = true;
		setTimeout(() => {
			this.#telling = false;
			for (const changed of [...this.#watchers.keys()]) changed();
		});
	}
}

/** The options with which to go on after a subscription. */
function resume(sub: Subscription, options: ChannelOptions): SubscribeOptions {
	const { position, positions } = sub;
	if (!position && positions.length === 0) return options;
	const { last: _, since: __, ...rest } = options;
	return { ...rest, ...(position ? { position } : { positions }) };
}

/** The members after a change; numbers alone say that they are not told any more. */
function apply(known: PresenceView<any>, change: PresenceChange): Omit<PresenceView<any>, "error"> {
	const { clients, users, partial } = change;
	let members = change.members ?? known.members;
	if (members && !change.members) {
		const gone = new Set([...change.left, ...change.joined].map((m) => m.client));
		members = [...members.filter((m) => !gone.has(m.client)), ...change.joined];
		if (members.length !== clients) members = undefined;
	}
	return { members, clients, users, partial };
}

function asError(e: unknown): RivuletError {
	return e instanceof RivuletError ? e : new RivuletError(4500, String(e), { cause: e });
}

const stores = new WeakMap<Client, Map<string, ChannelStore>>();

/** The store of a channel, if anybody watches it. */
export function peek(client: Client, name: string): ChannelStore | undefined {
	return stores.get(client)?.get(canonical(name));
}

/** The store of a channel, to be watched; the same as long as anybody does. */
export function storeOf(client: Client, name: string): ChannelStore {
	const all = stores.get(client) ?? new Map<string, ChannelStore>();
	stores.set(client, all);
	const key = canonical(name);
	const known = all.get(key);
	if (known) return known;
	const store: ChannelStore = new ChannelStore(client, name, () => {
		if (all.get(key) === store) all.delete(key);
	});
	all.set(key, store);
	return store;
}
