// Who the visitor is: made up at the first visit, kept by the browser, told to nobody but
// the node. `?guest` makes somebody else of this tab alone.

export interface Identity {
	/** The subject of the token. */
	readonly id: string;
	readonly name: string;
}

const key = "rivulet-demo:me";

const adjectives = ["Amber", "Brisk", "Clear", "Deep", "Gentle", "Lucid", "Quiet", "Swift", "Wild"];
const animals = ["Dipper", "Heron", "Kingfisher", "Loach", "Minnow", "Otter", "Sturgeon", "Trout"];

const pick = (list: string[]): string => list[Math.floor(Math.random() * list.length)] ?? "";

function somebody(): Identity {
	return {
		id: crypto.randomUUID().slice(0, 8),
		name: `${pick(adjectives)} ${pick(animals)}`,
	};
}

/** Storage may be forbidden: then everything is as new at each visit. */
function read(storage: () => Storage): Identity | undefined {
	try {
		const me = JSON.parse(storage().getItem(key) ?? "null");
		if (typeof me?.id === "string" && typeof me?.name === "string") return me;
	} catch {
		// As if there were none.
	}
	return undefined;
}

function write(storage: () => Storage, me: Identity): void {
	try {
		storage().setItem(key, JSON.stringify(me));
	} catch {
		// As above.
	}
}

const tab = (): Storage => sessionStorage;
const browser = (): Storage => localStorage;
const isGuest = (): boolean => new URLSearchParams(location.search).has("guest");

export function loadIdentity(): Identity {
	const storage = isGuest() ? tab : browser;
	const me = read(storage) ?? somebody();
	write(storage, me);
	return me;
}

export function saveName(me: Identity, name: string): Identity {
	const renamed = { ...me, name };
	write(isGuest() ? tab : browser, renamed);
	return renamed;
}

/** The longest name, in characters; the node says so too. */
export const maxName = 32;

/** A hue of 0 to 359 that stays with a text. */
export function hue(text: string): number {
	let h = 0;
	for (const c of text) h = (h * 31 + (c.codePointAt(0) ?? 0)) % 360;
	return h;
}

export function initials(name: string): string {
	const words = name.trim().split(/\s+/);
	const first = [...(words[0] ?? "?")][0] ?? "?";
	const last = words.length > 1 ? ([...(words.at(-1) ?? "")][0] ?? "") : "";
	return (first + last).toUpperCase();
}
