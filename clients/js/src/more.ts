// What few pages need, in one chunk: patterns and what overlaps with them, and what is kept.

export { Keep } from "./keep.js";
export {
	Had,
	inherit,
	isBrought,
	mayLack,
	overlapping,
	overlaps,
	ownerOf,
} from "./overlap.js";
