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
export const isOffline = (): boolean => globalThis.navigator?.onLine === false;

/** Listens until what it returns is called; where there is no page it hears nothing. */
export function watchPage(to: Reactions): () => void {
	const seen = () => (globalThis.document?.visibilityState === "hidden" ? to.hide() : to.wake());
	const heard = {
		online: to.wake,
		offline: to.offline,
		pagehide: to.freeze,
		pageshow: to.thaw,
		freeze: to.freeze,
		resume: to.thaw,
		visibilitychange: seen,
	};
	const each = (act: "addEventListener" | "removeEventListener") => {
		// What is told to the document is seen on its way down from the window.
		for (const [name, react] of Object.entries(heard)) globalThis[act]?.(name, react, true);
	};
	each("addEventListener");
	return () => each("removeEventListener");
}
