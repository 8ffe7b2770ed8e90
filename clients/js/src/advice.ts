// What an application can do about codes that come once it is connected; errors.ts has the others.

/** By code; of a range's advice it is the more precise one. */
export const advices: Record<number, string> = {
	1009: "Send smaller messages.",
	4205: "Close the other client of this session.",
	4206: "Sign in again.",
	4404: "Check the name.",
	4408: "Try again with the same idempotency key.",
	4409: "Read the newest state, then decide anew.",
	4413: "Send less, or raise session.max_frame or the namespace's max_message_bytes.",
	4429: "Try again after retryAfterMs.",
	4504: "It may be stored. Try again with the same idempotency key.",
	4600: "The client subscribes again by itself.",
	4700: "Unless you have ended it yourself: do not subscribe again; tell the user.",
};
