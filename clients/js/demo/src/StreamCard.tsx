import { type ReactElement, useEffect, useRef, useState } from "react";
import { type CutReport, cutLength } from "./feed.js";
import type { Live } from "./live.js";
import { off } from "./off.js";
import { type State, useConnectionState } from "./sdk.js";
import { useStore } from "./store.js";
import { animateStream } from "./stream.js";

const number = new Intl.NumberFormat("en");
/** Two rows of them, where there is room. */
const mostCells = 40;
const wanted0 = new Set(["missing", "twice", "lost", "doubled", "out of order"]);

function useNow(on: boolean, every = 200): number {
	const [now, setNow] = useState(() => performance.now());
	useEffect(() => {
		if (!on) return;
		setNow(performance.now());
		const timer = setInterval(() => setNow(performance.now()), every);
		return () => clearInterval(timer);
	}, [on, every]);
	return now;
}

function Picture({ live }: { live: Live }): ReactElement {
	const canvas = useRef<HTMLCanvasElement>(null);
	useEffect(() => (canvas.current ? animateStream(canvas.current, live.feed) : undefined), [live]);
	return (
		<canvas
			ref={canvas}
			className="stream"
			role="img"
			aria-label="Two lines over time: above, when the node stored each event; below, when it was delivered to this page. A stroke joins the two. The numbers beneath say the same in words."
		/>
	);
}

const wrong = "This should not be. Please report it.";

function sayPhase(cut: CutReport, left: number): string {
	switch (cut.phase) {
		case "preparing":
			return "Asking somebody else to watch…";
		case "cut":
			return `Cut off for ${Math.ceil(left / 1000)} s more. The node goes on storing.`;
		case "reconnecting":
			return "Reconnecting, and asking for all that came meanwhile…";
		case "failed":
			return "The node could not be reached to compare with. Is it running?";
		default:
			return cut.lost + cut.doubled + cut.disordered === 0
				? `All ${cut.missed.length} came after the reconnect${cut.took === undefined ? "" : `, in ${Math.round(cut.took)} ms`}.`
				: wrong;
	}
}

/** What screen readers hear: each phase once, not each second of it. */
function announce(cut: CutReport): string {
	if (cut.phase === "cut") return `The connection is cut for ${cutLength / 1000} seconds.`;
	if (cut.phase !== "done") return sayPhase(cut, 0);
	return `${sayPhase(cut, 0)} ${cut.lost} lost, ${cut.doubled} doubled, ${cut.disordered} out of order.`;
}

/** What is proved: by the last cut, or until there is one by the numbers of all events. */
function Proof({ live }: { live: Live }): ReactElement {
	const { total, missing, doubled, events, cut } = useStore(live.feed.state);
	const { feed: refused } = useStore(live.refusals);
	const { state } = useConnectionState(live.client);
	const hole = missing + doubled > 0;
	const now = useNow(cut?.phase === "cut");
	if (!cut) {
		const run = events.at(-1)?.data.run; // a node that was started anew counts from 1
		const newest = events
			.filter((m) => m.data.run === run)
			.map((m) => ({ n: m.data.n, here: true }));
		return (
			<section className="proof" aria-label="What has come">
				<Verdict text={refused === undefined ? sayCount(total, hole, state) : refusal} bad={hole} />
				<Cells list={newest} label="The last events that came" />
				<dl className="figures">
					<Figure label="since you came" value={total} />
					<Figure label="missing" value={missing} />
					<Figure label="twice" value={doubled} />
				</dl>
			</section>
		);
	}
	const here = cut.missed.filter((m) => m.here).length;
	const done = cut.phase === "done";
	const bad = hole || (done && cut.lost + cut.doubled + cut.disordered > 0);
	return (
		<section className="proof" data-phase={cut.phase} aria-label="The last cut">
			<p className="hidden" role="status">
				{announce(cut)}
			</p>
			<Verdict text={hole ? wrong : sayPhase(cut, cut.until - now)} bad={bad} good={done && !bad} />
			<Cells list={cut.missed} label="Events stored during the cut; filled: delivered here" />
			<dl className="figures">
				<Figure label="stored" value={cut.missed.length} />
				<Figure label="replayed" value={here} />
				<Figure label="lost" value={done ? cut.lost : "–"} />
				<Figure label="doubled" value={done ? cut.doubled : "–"} />
				<Figure label="out of order" value={done ? cut.disordered : "–"} />
			</dl>
		</section>
	);
}

const refusal = "Nothing comes: the node refuses the feed.";

function sayCount(total: number, bad: boolean, state: State): string {
	if (bad) return wrong;
	if (state !== "connected") return "Not connected. What is stored meanwhile comes later.";
	return total === 0 ? "Waiting for what comes." : "Every number has come once, and in order.";
}

function Verdict(props: { text: string; bad: boolean; good?: boolean }): ReactElement {
	const { text, bad, good } = props;
	return (
		<p className="verdict" data-verdict={bad ? "bad" : good ? "good" : ""} aria-hidden="true">
			{text}
		</p>
	);
}

function Cells(props: {
	list: readonly { readonly n: number; readonly here: boolean }[];
	label: string;
}): ReactElement {
	const { list, label } = props;
	const [first, last] = [list[0], list.at(-1)];
	return (
		<div className="ledger">
			<p className="range">
				{first && last ? `#${number.format(first.n)} to #${number.format(last.n)}` : "no event yet"}
			</p>
			<ol className="cells" aria-label={label}>
				{list.slice(-mostCells).map((m, i) => (
					// By its place: what was there already does not move.
					<li key={i} data-here={m.here} title={`#${m.n}`}>
						<span className="hidden">{m.n}</span>
					</li>
				))}
			</ol>
		</div>
	);
}

function Figure({ label, value }: { label: string; value: number | string }): ReactElement {
	const bad = value !== 0 && value !== "–" && wanted0.has(label);
	return (
		<div>
			<dt>{label}</dt>
			<dd data-bad={bad}>{typeof value === "number" ? number.format(value) : value}</dd>
		</div>
	);
}

/** Why there is nothing to cut now. */
function whyNot(busy: boolean, state: State, refused: string | undefined): string {
	if (busy) return "";
	if (state !== "connected") return "It needs a connection.";
	return refused === undefined ? "" : "The node refuses the feed.";
}

export function StreamCard({ live }: { live: Live }): ReactElement {
	const { cut } = useStore(live.feed.state);
	const { feed: refused } = useStore(live.refusals);
	const { state } = useConnectionState(live.client);
	const busy = cut !== undefined && cut.phase !== "done" && cut.phase !== "failed";
	const why = whyNot(busy, state, refused);
	const start = (): void => {
		live.latency.forget();
		live.feed.demonstrate();
	};
	return (
		<section className="card hero" aria-labelledby="stream-title">
			<div className="pitch">
				<h2 id="stream-title">Cut the line. Lose nothing.</h2>
				<p>
					Each event is stored, numbered, and sent to this page. Cut the page off: the node goes on
					without it, and the replay fills the hole, each event once and in order.
				</p>
				<div className="act">
					<button
						type="button"
						className="button cut"
						aria-describedby="cut-why"
						{...off(busy || why !== "", start)}
					>
						{busy ? (
							"Cut off"
						) : (
							<>
								Cut my connection <span className="dim">{cutLength / 1000} s</span>
							</>
						)}
					</button>
					<span className="note" id="cut-why">
						{why}
					</span>
				</div>
			</div>
			<Picture live={live} />
			<Proof live={live} />
		</section>
	);
}
