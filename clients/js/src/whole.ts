// The same with all that is loaded later otherwise, for where nothing can be: service workers that
// are no bundle of one file.

import { Choice } from "./choice.js";
import { chunks } from "./lazy.js";
import * as more from "./more.js";
import { openPoll } from "./transport/poll.js";
import { openSse } from "./transport/sse.js";

Object.assign(chunks, {
	more: async () => more,
	choice: async () => ({ Choice }),
	sse: async () => ({ openSse }),
	poll: async () => ({ openPoll }),
} satisfies typeof chunks);

export * from "./index.js";
