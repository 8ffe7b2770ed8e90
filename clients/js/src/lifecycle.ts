// What happens to a page, and what it means for its connection. Loaded once that is up.

import type { Keeper } from "./keeper.js";
import { follows } from "./machine.js";
import { isOffline, offlinePause } from "./network.js";

/** Listens until what it returns is called; where there is no page it hears nothing. */
export function watch(keeper: Keeper): () => void {
	const probe = () => keeper.link?.pulse?.probe();
	/** There is, or may be, a network again, or somebody looks: is the connection alive? */
	const wake = () => {
		probe();
		if (keeper.state === "retrying" && !isOffline()) keeper.start();
	};
	/** The page stops, perhaps into the back/forward cache, which takes no open connection. */
	const freeze = () => {
		keeper.frozen ||= follows(keeper.state, "disconnected");
		keeper.leave("disconnected");
	};
	/** It runs again after `freeze`. */
	const thaw = () => (keeper.frozen ? keeper.connect() : wake());
	const heard = {
		online: wake,
		offline: () => {
			probe();
			if (keeper.state === "retrying") keeper.startAfter(offlinePause);
		},
		pagehide: freeze,
		pageshow: thaw,
		freeze,
		resume: thaw,
		// A page that is hidden may never run again: save what there is.
		visibilitychange: () =>
			globalThis.document?.visibilityState === "hidden" ? keeper.settleAll() : wake(),
	};
	const each = (act: "addEventListener" | "removeEventListener") => {
		// What is told to the document is seen on its way down from the window.
		for (const [name, react] of Object.entries(heard)) globalThis[act]?.(name, react, true);
	};
	each("addEventListener");
	return () => each("removeEventListener");
}
