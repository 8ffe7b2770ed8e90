// The same with all that is loaded later otherwise, for where nothing can be: service workers that
// are no bundle of one file.

import { Choice } from "./choice.js";
import { chunks } from "./lazy.js";
import { more } from "./more.js";
import * as poll from "./transport/poll.js";
import * as sse from "./transport/sse.js";

Object.assign(chunks, {
	more: async () => ({ more }),
	choice: async () => ({ Choice }),
	sse: async () => sse,
	poll: async () => poll,
} satisfies Partial<typeof chunks>);

export * from "./index.js";
