// What few pages need, in one chunk: patterns and what overlaps with them, what is kept, tokens of
// subscriptions, and what becomes of subscriptions whose queue is full.

export { askToken } from "./ask.js";
export { Hold, letGo } from "./hold.js";
export { Keep } from "./keep.js";
export {
	Had,
	inherit,
	isBrought,
	mayLack,
	ownerOf,
} from "./overlap.js";
