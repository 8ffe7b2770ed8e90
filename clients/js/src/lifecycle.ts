// What happens to a page, and what it means for its connection.

/** What a client does. */
export interface Reactions {
	/** There is, or may be, a network again, or somebody looks: is the connection alive? */
	wake(): void;
	/** The network is gone, or so the browser says. */
	offline(): void;
	/** The page may never run again: save what there is. */
	hide(): void;
	/** The page stops, perhaps into the back/forward cache, which takes no open connection. */
	freeze(): void;
	/** It runs again after `freeze`. */
	thaw(): void;
}

/** Whether the browser says that there is no network. */
export function isOffline(): boolean {
	return globalThis.navigator?.onLine === false;
}

/** Listens until what it returns is called; where there is no page it hears nothing. */
export function watchPage(to: Reactions): () => void {
	const page = globalThis.document as Document | undefined;
	const seen = () => (page?.visibilityState === "hidden" ? to.hide() : to.wake());
	const heard: [EventTarget | undefined, string, () => void][] = [
		[globalThis, "online", () => to.wake()],
		[globalThis, "offline", () => to.offline()],
		[globalThis, "pagehide", () => to.freeze()],
		[globalThis, "pageshow", () => to.thaw()],
		[page, "freeze", () => to.freeze()],
		[page, "resume", () => to.thaw()],
		[page, "visibilitychange", seen],
	];
	for (const [target, name, react] of heard) target?.addEventListener?.(name, react);
	return () => {
		for (const [target, name, react] of heard) target?.removeEventListener?.(name, react);
	};
}
