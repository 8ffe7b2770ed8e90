// Names of channels and patterns (P-3.2, P-8.2).

/** The full name: `x` is `default:x`. */
export const canonical = (channel: string): string =>
	channel.includes(":") ? channel : `default:${channel}`;

/** Whether a segment of the full name is a wildcard. */
export const isPattern = (channel: string): boolean => /[:.][*>](\.|$)/.test(channel);

/** Namespace and segments; a namespace has no dot. */
const split = (channel: string): string[] => channel.replace(":", ".").split(".");

/** Whether the pattern covers the channel. */
export function matches(pattern: string, channel: string): boolean {
	const want = split(pattern);
	const have = split(channel);
	const deep = want.at(-1) === ">" && want.pop() !== undefined;
	return (
		(deep ? have.length > want.length : have.length === want.length) &&
		want.every((segment, i) => segment === have[i] || (i > 0 && segment === "*"))
	);
}

/** Whether both may match one message; of two patterns of one namespace it supposes so. */
export const overlap = (a: string, b: string): boolean =>
	isPattern(a) && isPattern(b)
		? split(a)[0] === split(b)[0]
		: (isPattern(a) && matches(a, b)) || (isPattern(b) && matches(b, a));
