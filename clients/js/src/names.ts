// Names of channels and patterns (P-3.2, P-8.2).

/** The full name: `x` is `default:x`. */
export function canonical(channel: string): string {
	return channel.includes(":") ? channel : `default:${channel}`;
}

function split(channel: string): [namespace: string, ...segments: string[]] {
	const colon = channel.indexOf(":");
	return [channel.slice(0, colon), ...channel.slice(colon + 1).split(".")];
}

/** Whether a segment of the full name is a wildcard. */
export function isPattern(channel: string): boolean {
	return split(channel).some((segment, i) => i > 0 && (segment === "*" || segment === ">"));
}

/** Whether the pattern covers the channel. */
export function matches(pattern: string, channel: string): boolean {
	const [want, have] = [split(pattern), split(channel)];
	if (want[0] !== have[0]) return false;
	for (let i = 1; i < want.length; i++) {
		if (i >= have.length) return false;
		if (want[i] === ">") return true;
		if (want[i] !== "*" && want[i] !== have[i]) return false;
	}
	return want.length === have.length;
}

/** Whether both may match one message; of two patterns of one namespace it supposes so. */
export function overlap(a: string, b: string): boolean {
	const [p, q] = [isPattern(a), isPattern(b)];
	if (p && q) return split(a)[0] === split(b)[0];
	return (p && matches(a, b)) || (q && matches(b, a));
}
