import type { KeyboardEvent } from "react";

/** Tabs as of the ARIA practices: one stop of the tab key, arrows, Home and End. */
export function useTabs<T extends string>(
	all: readonly T[],
	current: string,
	choose: (one: T) => void,
	name: string,
): {
	onKeyDown: (e: KeyboardEvent) => void;
	tabProps: (one: T) => Record<string, unknown>;
} {
	const id = (one: T): string => `${name}-tab-${one}`;
	const go = (i: number): void => {
		const one = all[(i + all.length) % all.length];
		if (!one) return;
		choose(one);
		document.getElementById(id(one))?.focus();
	};
	const keys: Record<string, (i: number) => number> = {
		ArrowLeft: (i) => i - 1,
		ArrowRight: (i) => i + 1,
		Home: () => 0,
		End: () => all.length - 1,
	};
	return {
		onKeyDown: (e) => {
			const to = keys[e.key];
			if (!to) return;
			e.preventDefault();
			go(to((all as readonly string[]).indexOf(current)));
		},
		tabProps: (one) => ({
			role: "tab",
			id: id(one),
			"aria-selected": one === current,
			"aria-controls": `${name}-panel-${one}`,
			tabIndex: one === current ? 0 : -1,
			onClick: () => choose(one),
		}),
	};
}
