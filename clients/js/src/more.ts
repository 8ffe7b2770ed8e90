// What few pages need, in one chunk: patterns and what overlaps with them, what is kept, and what
// becomes of subscriptions whose queue is full.

export { Hold, letGo } from "./hold.js";
export { Keep } from "./keep.js";
export {
	Had,
	inherit,
	isBrought,
	mayLack,
	ownerOf,
} from "./overlap.js";
