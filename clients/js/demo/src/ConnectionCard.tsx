import { type ReactElement, useEffect, useState } from "react";
import type { TransportChoice } from "./App.js";
import { stateText } from "./Header.js";
import type { Live } from "./live.js";
import type { State } from "./sdk.js";
import { useStore } from "./store.js";

const states: readonly State[] = [
	"initialized",
	"connecting",
	"connected",
	"retrying",
	"disconnected",
	"closed",
];
const choices: readonly [TransportChoice, string][] = [
	["auto", "automatic"],
	["websocket", "WebSocket"],
	["sse", "Server-Sent Events"],
	["poll", "long poll"],
];
const clock = new Intl.DateTimeFormat("en", {
	hour: "2-digit",
	minute: "2-digit",
	second: "2-digit",
	hourCycle: "h23",
});

export const ms = (n: number | undefined): string =>
	n === undefined ? "–" : `${n < 10 ? n.toFixed(1) : Math.round(n)} ms`;

/** Seconds until a time, as text that changes each second. */
function Countdown({ to }: { to: number }): ReactElement {
	const [now, setNow] = useState(() => performance.now());
	useEffect(() => {
		const timer = setInterval(() => setNow(performance.now()), 1000);
		return () => clearInterval(timer);
	}, []);
	return <>{Math.max(0, Math.round((to - now) / 1000))} s</>;
}

function Facts({ live }: { live: Live }): ReactElement {
	const c = useStore(live.connection);
	const again = Math.max(0, c.connects - 1);
	return (
		<dl className="facts">
			<dt>Round trip</dt>
			<dd>{ms(c.roundTrip)}</dd>
			<dt>Reconnects</dt>
			<dd>{again}</dd>
			<dt>Token</dt>
			<dd>
				{c.tokenEnds === undefined ? (
					"–"
				) : (
					<>
						ends in <Countdown to={c.tokenEnds} />
					</>
				)}
				{c.tokens > 1 && <span className="dim"> · {c.tokens} so far</span>}
			</dd>
			<dt>Node</dt>
			<dd className="mono" title={c.node}>
				{c.node || "–"}
			</dd>
			<dt>Connection</dt>
			<dd className="mono" title={c.client}>
				{c.client || "–"}
			</dd>
		</dl>
	);
}

export function ConnectionCard(props: {
	live: Live;
	choice: TransportChoice;
	choose: (c: TransportChoice) => void;
}): ReactElement {
	const { live, choice, choose } = props;
	const { state, log } = useStore(live.connection);
	const off = state === "disconnected";
	return (
		<section className="card connection" aria-labelledby="connection-title">
			<div className="head">
				<h2 id="connection-title">Connection</h2>
				<button
					type="button"
					className="button quiet"
					disabled={state === "closed"}
					onClick={() => (off ? live.client.connect() : live.client.disconnect())}
				>
					{off ? "Connect" : "Disconnect"}
				</button>
			</div>
			<ol className="states" aria-label="States of a client">
				{states.map((s) => (
					<li key={s} data-state={s} aria-current={s === state ? "step" : undefined}>
						{s}
					</li>
				))}
			</ol>
			<label className="controls">
				Transport
				<select value={choice} onChange={(e) => choose(e.target.value as TransportChoice)}>
					{choices.map(([value, text]) => (
						<option key={value} value={value}>
							{text}
						</option>
					))}
				</select>
			</label>
			<Facts live={live} />
			{/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard */}
			<ol className="log" tabIndex={0} aria-label="What happened last, newest first">
				{log.toReversed().map((l) => (
					<li key={l.id}>
						<time>{clock.format(l.at)}</time> <b data-state={l.state}>{stateText[l.state]}</b>{" "}
						<span className="dim">{l.text}</span>
					</li>
				))}
			</ol>
		</section>
	);
}
