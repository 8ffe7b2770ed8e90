// What the browser says of the network.

/** Whether it says that there is none. */
export const isOffline = (): boolean => globalThis.navigator?.onLine === false;

/** Milliseconds between attempts where it says so: it may be wrong. */
export const offlinePause = 30_000;
