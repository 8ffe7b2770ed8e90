// What is not needed to connect and to begin, in one chunk: how commands are sent, signs of life,
// what a page means for a connection, patterns and what overlaps with them, what is kept, tokens of
// subscriptions, what becomes of subscriptions whose queue is full, and what to do about errors.

import { advices } from "./advice.js";
import { askToken } from "./ask.js";
import { Brought } from "./brought.js";
import { Hold, letGo } from "./hold.js";
import { Keep } from "./keep.js";
import { checkEvent, checkSubscribe, strange } from "./known.js";
import { watch } from "./lifecycle.js";
import { Had, inherit, ownerOf, passes, waits } from "./overlap.js";
import { Pulse } from "./pulse.js";
import { renew } from "./renew.js";
import { Sender } from "./sender.js";

/** All of it. An object's names can be short in the package, a module's cannot. */
export interface More {
	readonly advices: typeof advices;
	readonly askToken: typeof askToken;
	readonly Brought: typeof Brought;
	readonly Hold: typeof Hold;
	readonly letGo: typeof letGo;
	readonly Keep: typeof Keep;
	readonly checkEvent: typeof checkEvent;
	readonly checkSubscribe: typeof checkSubscribe;
	readonly strange: typeof strange;
	readonly watch: typeof watch;
	readonly Had: typeof Had;
	readonly inherit: typeof inherit;
	readonly ownerOf: typeof ownerOf;
	readonly passes: typeof passes;
	readonly waits: typeof waits;
	readonly Pulse: typeof Pulse;
	readonly renew: typeof renew;
	readonly Sender: typeof Sender;
}

export const more: More = {
	advices,
	askToken,
	Brought,
	Hold,
	letGo,
	Keep,
	checkEvent,
	checkSubscribe,
	strange,
	watch,
	Had,
	inherit,
	ownerOf,
	passes,
	waits,
	Pulse,
	renew,
	Sender,
};
