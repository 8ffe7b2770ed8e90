// React hooks. A client outlives components: make it once, outside of them, and give it in.

import { useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import type { Client } from "../client.js";
import type { Published, PublishOptions, State, StateChange } from "../types.js";
import {
	type ChannelOptions,
	type ChannelView,
	nobody,
	nothing,
	type PresenceView,
	peek,
	storeOf,
} from "./store.js";

export type { ChannelOptions, ChannelView, PresenceView } from "./store.js";

/** A channel as a component sees it. */
export interface ReactChannel<T> extends ChannelView<T> {
	/** `Channel.publish`; stays the same while client and channel do. */
	readonly publish: (data: T | Uint8Array, options?: PublishOptions) => Promise<Published>;
}

/**
 * Subscribes to a channel while the component is mounted, and shows its newest messages. Components
 * with the same client and channel share one subscription, with the options of the first.
 */
export function useChannel<T = unknown>(
	client: Client,
	name: string,
	options: ChannelOptions = {},
): ReactChannel<T> {
	const newest = useRef(options);
	useEffect(() => {
		newest.current = options; // before it is subscribed, in the order of effects
	});
	const watch = useCallback(
		(changed: () => void) => storeOf(client, name).watch(changed, false, newest.current),
		[client, name],
	);
	const view = useSyncExternalStore(
		watch,
		() => peek(client, name)?.view ?? nothing,
		() => nothing,
	);
	const publish = useCallback(
		(data: T | Uint8Array, o?: PublishOptions) => client.channel<T>(name).publish(data, o),
		[client, name],
	);
	return useMemo(() => ({ ...view, publish }), [view, publish]);
}

/** Shows who is subscribed to a channel, while the component is mounted. */
export function usePresence<I = unknown>(client: Client, name: string): PresenceView<I> {
	const watch = useCallback(
		(changed: () => void) => storeOf(client, name).watch(changed, true),
		[client, name],
	);
	return useSyncExternalStore(
		watch,
		() => peek(client, name)?.presence ?? nobody,
		() => nobody,
	);
}

/** The state of the connection, and why, if there is none: what `client.on("state")` told last. */
export function useConnectionState(client: Client): StateChange {
	const last = useRef<{ client: Client; change: StateChange }>(undefined);
	const watch = useCallback(
		(changed: () => void) =>
			client.on("state", (change) => {
				last.current = { client, change };
				changed();
			}),
		[client],
	);
	const read = useCallback(() => {
		const { current } = last;
		// A change that came before the component did is known by its name alone.
		if (current?.client !== client || current.change.state !== client.state) {
			last.current = { client, change: bare(client.state) };
		}
		return last.current?.change ?? bare(client.state);
	}, [client]);
	return useSyncExternalStore(watch, read, read);
}

const bare = (state: State): StateChange => ({ state, previous: state });
