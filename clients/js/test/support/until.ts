// Waiting for what happens by itself.

/** Waits until `done` is true; fails after `ms` with what `told` says. */
export async function until(
	done: () => boolean | Promise<boolean>,
	told: () => string = () => "",
	ms = 30_000,
): Promise<void> {
	const end = performance.now() + ms;
	while (!(await done())) {
		if (performance.now() > end) throw new Error(`not within ${ms} ms: ${done} ${told()}`);
		await new Promise((resolve) => setTimeout(resolve, 10));
	}
}
