import { type FormEvent, type ReactElement, useEffect, useState } from "react";
import { hue, initials, maxName } from "./identity.js";
import type { Live } from "./live.js";
import { useStore } from "./store.js";

type Theme = "system" | "light" | "dark";
const themes: readonly Theme[] = ["system", "light", "dark"];
const themeKey = "rivulet-demo:theme";

function applyTheme(theme: Theme): void {
	const root = document.documentElement;
	if (theme === "system") delete root.dataset.theme;
	else root.dataset.theme = theme;
	try {
		localStorage.setItem(themeKey, theme);
	} catch {
		// It holds until the page is left.
	}
}

function ThemeToggle(): ReactElement {
	const [theme, setTheme] = useState<Theme>(
		() => (document.documentElement.dataset.theme as Theme | undefined) ?? "system",
	);
	return (
		<fieldset className="segments">
			<legend className="hidden">Theme</legend>
			{themes.map((t) => (
				<label key={t} title={`${t} theme`}>
					<input
						type="radio"
						name="theme"
						value={t}
						checked={t === theme}
						onChange={() => {
							setTheme(t);
							applyTheme(t);
						}}
					/>
					<ThemeIcon theme={t} />
					<span className="hidden">{t}</span>
				</label>
			))}
		</fieldset>
	);
}

function ThemeIcon({ theme }: { theme: Theme }): ReactElement {
	const paths = {
		system: "M4 5h16v11H4zM9 20h6",
		light:
			"M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
		dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5",
	};
	return (
		<svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
			<path d={paths[theme]} />
		</svg>
	);
}

export function Avatar({ id, name }: { id: string; name: string }): ReactElement {
	return (
		<span className="avatar" aria-hidden="true" style={{ "--hue": hue(id) } as React.CSSProperties}>
			{initials(name)}
		</span>
	);
}

function Name({ live, rename }: { live: Live; rename: (name: string) => void }): ReactElement {
	const { me } = live;
	const [editing, setEditing] = useState(false);
	const [draft, setDraft] = useState(me.name);
	useEffect(() => setDraft(me.name), [me.name]);
	const submit = (e: FormEvent): void => {
		e.preventDefault();
		const name = draft.trim();
		setEditing(false);
		if (name && name !== me.name) rename(name);
		else setDraft(me.name);
	};
	if (!editing) {
		return (
			<button type="button" className="name" onClick={() => setEditing(true)}>
				<Avatar id={me.id} name={me.name} />
				<span className="called">{me.name}</span>
				<span className="hidden">, that is you: change the name</span>
			</button>
		);
	}
	return (
		<form onSubmit={submit} className="name">
			<Avatar id={me.id} name={draft} />
			<input
				// biome-ignore lint/a11y/noAutofocus: it takes the place of the button that was pressed
				autoFocus
				aria-label="Your name"
				value={draft}
				maxLength={maxName}
				autoComplete="nickname"
				onFocus={(e) => e.target.select()}
				onChange={(e) => setDraft(e.target.value)}
				onBlur={submit}
				onKeyDown={(e) => {
					if (e.key !== "Escape") return;
					setDraft(me.name);
					setEditing(false);
				}}
			/>
		</form>
	);
}

export const stateText = {
	initialized: "starting",
	connecting: "connecting",
	connected: "connected",
	retrying: "reconnecting",
	disconnected: "disconnected",
	closed: "closed",
} as const;

function Pill({ live }: { live: Live }): ReactElement {
	const { state, transport } = useStore(live.connection);
	const { feed, chat } = useStore(live.refusals);
	const refused = state === "connected" && (feed ?? chat) !== undefined;
	return (
		<p className="pill" data-state={state} data-refused={refused} role="status">
			<i className="dot" aria-hidden="true" />
			{refused ? "connected, refused" : stateText[state]}
			{!refused && transport && <span className="dim">{transport}</span>}
		</p>
	);
}

export function Header(props: { live: Live; rename: (name: string) => void }): ReactElement {
	return (
		<header className="top">
			<h1>
				<svg viewBox="0 0 32 32" className="mark" aria-hidden="true">
					<path d="M5 7c6 0 5 9 11 9s5 9 11 9" />
					<path d="M5 16c5 0 5 9 11 9" opacity=".55" />
					<path d="M16 7c6 0 5 9 11 9" opacity=".55" />
				</svg>
				Rivulet
			</h1>
			<Pill live={props.live} />
			<Name {...props} />
			<a className="button quiet guest" href="/?guest" target="_blank" rel="noopener">
				<span>
					<span className="wide">Second </span>guest
				</span>
				<span aria-hidden="true">↗</span>
				<span className="hidden">, in a new tab</span>
			</a>
			<ThemeToggle />
		</header>
	);
}
