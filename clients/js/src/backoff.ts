// Exponential backoff with full jitter (P-6.6).

/** What a node can ask a client to wait at most, in milliseconds. */
const mostRetryAfter = 300_000;

/** Bounds what a node asks to wait; anything that is no number counts as 0. */
export function bounded(retryAfterMs: unknown): number {
	return Math.min(Math.max(Number(retryAfterMs) || 0, 0), mostRetryAfter);
}

/** Milliseconds to wait after so many failures in a row, 1 or more. */
export type Backoff = (failures: number, retryAfterMs?: number) => number;

/** Evenly random from 0 to the smaller of cap and base doubled, after what the node states. */
export function backoff(base = 250, cap = 20_000, random: () => number = Math.random): Backoff {
	return (failures, retryAfterMs = 0) =>
		bounded(retryAfterMs) + random() * Math.min(cap, base * 2 ** Math.min(failures - 1, 30));
}
