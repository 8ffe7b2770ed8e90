import { useSyncExternalStore } from "react";

/** A value that components follow. */
export class Store<T extends object> {
	#value: T;
	readonly #listeners = new Set<() => void>();

	constructor(value: T) {
		this.#value = value;
	}

	get value(): T {
		return this.#value;
	}

	set(part: Partial<T>): void {
		this.#value = { ...this.#value, ...part };
		for (const listener of this.#listeners) listener();
	}

	readonly subscribe = (listener: () => void): (() => void) => {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	};
}

export function useStore<T extends object>(store: Store<T>): T {
	return useSyncExternalStore(store.subscribe, () => store.value);
}

/** `list` with one more at its end, and at most `most` of them. */
export function append<T>(list: readonly T[], one: T, most: number): T[] {
	return [...list.slice(Math.max(0, list.length + 1 - most)), one];
}
