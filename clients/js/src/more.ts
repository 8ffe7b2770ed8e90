// What few pages need, in one chunk: patterns and what overlaps with them, what is kept, tokens of
// subscriptions, and what becomes of subscriptions whose queue is full.

export { askToken } from "./ask.js";
export { Brought } from "./brought.js";
export { Hold, letGo } from "./hold.js";
export { Keep } from "./keep.js";
export {
	Had,
	inherit,
	mayLack,
	ownerOf,
	passes,
} from "./overlap.js";
