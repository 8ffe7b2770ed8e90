// The states of a client. What is not in the table does not happen.

import type { State } from "./types.js";

const lively: State[] = ["retrying", "disconnected", "closed"];

/** Which state follows which. */
const table: Readonly<Record<State, readonly State[]>> = {
	initialized: ["connecting", "closed"],
	connecting: ["connected", ...lively],
	connected: lively,
	retrying: ["connecting", "disconnected", "closed"],
	disconnected: ["connecting", "closed"],
	closed: [],
};

/** Whether the one may follow the other; where not, nothing is to be done. */
export const follows = (from: State, to: State): boolean => table[from].includes(to);
