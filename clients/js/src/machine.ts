// The states of a client and what leads from one to the next. A step that is not in the table
// does not exist.

import type { State } from "./types.js";

/** What happens to a client. */
export type Step = "connect" | "connected" | "lost" | "disconnect" | "close";

const lively = { lost: "retrying", disconnect: "disconnected", close: "closed" } as const;

const table: Readonly<Record<State, Readonly<Partial<Record<Step, State>>>>> = {
	initialized: { connect: "connecting", close: "closed" },
	connecting: { connected: "connected", ...lively },
	connected: lively,
	retrying: { connect: "connecting", disconnect: "disconnected", close: "closed" },
	disconnected: { connect: "connecting", close: "closed" },
	closed: {},
};

/** The state after a step; `undefined` where it cannot happen, and nothing is to be done. */
export function follow(state: State, step: Step): State | undefined {
	return table[state][step];
}
