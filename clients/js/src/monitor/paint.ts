// When the page was painted.

/** Writes the paints into `into` as they come, until what is returned is called. */
export function paintsOf(into: { first?: number; largest?: number }): () => void {
	const ends = [
		observe("paint", (entry) => {
			if (entry.name === "first-contentful-paint") into.first = Math.round(entry.startTime);
		}),
		observe("largest-contentful-paint", (entry) => {
			into.largest = Math.round(entry.startTime);
		}),
	];
	return () => {
		for (const end of ends) end();
	};
}

function observe(type: string, tell: (entry: PerformanceEntry) => void): () => void {
	if (
		typeof PerformanceObserver === "undefined" ||
		!PerformanceObserver.supportedEntryTypes?.includes(type)
	) {
		return () => {};
	}
	const observer = new PerformanceObserver((list) => list.getEntries().forEach(tell));
	observer.observe({ type, buffered: true });
	return () => observer.disconnect();
}
