// What is not needed to connect and to begin, in one chunk: how commands are sent, signs of life, patterns and what
// overlaps with them, what is kept, tokens of subscriptions, what becomes of subscriptions whose queue
// is full, and what to do about errors.

export { advices } from "./advice.js";
export { askToken } from "./ask.js";
export { Brought } from "./brought.js";
export { Hold, letGo } from "./hold.js";
export { Keep } from "./keep.js";
export { checkSubscribe, strange } from "./known.js";
export { watch } from "./lifecycle.js";
export {
	Had,
	inherit,
	ownerOf,
	passes,
	waits,
} from "./overlap.js";
export { Pulse } from "./pulse.js";
export { renew } from "./renew.js";
export { Sender } from "./sender.js";
