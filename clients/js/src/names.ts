// Names of channels and patterns (P-3.2, P-8.2).

/** The full name: `x` is `default:x`. */
export const canonical = (channel: string): string =>
	channel.includes(":") ? channel : `default:${channel}`;

/** Whether a segment of the full name is a wildcard. */
export const isPattern = (channel: string): boolean => /[:.][*>](\.|$)/.test(channel);
