// The SDK's core: everything an application with JSON needs.

export type { Channel } from "./channel.js";
export { Client } from "./client.js";
export type { ClientEvents } from "./emitter.js";
export { advice, RivuletError } from "./errors.js";
export type { Subscription, SubscriptionState } from "./host.js";
export type * from "./types.js";
