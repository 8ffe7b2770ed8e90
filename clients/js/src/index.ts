// The SDK's core: everything an application with JSON needs.

export type { Channel } from "./channel.js";
export { Client, type ClientEvents } from "./client.js";
export * from "./errors.js";
export type { Subscription, SubscriptionState } from "./host.js";
export type * from "./types.js";
