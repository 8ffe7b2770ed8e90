import { type ReactElement, useEffect, useRef, useState } from "react";
import { type CutReport, cutLength } from "./feed.js";
import type { Live } from "./live.js";
import { off } from "./off.js";
import { useConnectionState } from "./sdk.js";
import { useStore } from "./store.js";
import { animateStream } from "./stream.js";

const number = new Intl.NumberFormat("en");

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

function sayPhase(cut: CutReport, left: number): string {
	switch (cut.phase) {
		case "preparing":
			return "Asking somebody else to watch…";
		case "cut":
			return `The connection is cut for ${Math.ceil(left / 1000)} s more. The node goes on storing.`;
		case "reconnecting":
			return "Reconnecting, and asking for everything after the last position…";
		case "failed":
			return "The node could not be reached to compare with. Is it running?";
		default:
			return cut.lost + cut.doubled + cut.disordered === 0
				? `All ${cut.missed.length} came after the reconnect${cut.took === undefined ? "" : `, in ${Math.round(cut.took)} ms`}.`
				: "This should not be. Please report it.";
	}
}

/** What screen readers hear: each phase once, not each second of it. */
function announce(cut: CutReport): string {
	if (cut.phase === "cut") return `The connection is cut for ${cutLength / 1000} seconds.`;
	if (cut.phase !== "done") return sayPhase(cut, 0);
	return `${sayPhase(cut, 0)} ${cut.lost} lost, ${cut.doubled} doubled, ${cut.disordered} out of order.`;
}

function Proof({ cut }: { cut: CutReport }): ReactElement {
	const now = useNow(cut.phase === "cut");
	const here = cut.missed.filter((m) => m.here).length;
	const verdict =
		cut.phase === "done" ? (cut.lost + cut.doubled + cut.disordered ? "bad" : "good") : "";
	return (
		<section className="proof" data-phase={cut.phase} aria-label="The last cut">
			<p className="hidden" role="status">
				{announce(cut)}
			</p>
			<p className="verdict" data-verdict={verdict} aria-hidden="true">
				{sayPhase(cut, cut.until - now)}
			</p>
			<dl className="figures">
				<Figure label="stored meanwhile" value={cut.missed.length} />
				<Figure label="replayed" value={here} />
				<Figure label="lost" value={cut.phase === "done" ? cut.lost : "–"} />
				<Figure label="doubled" value={cut.phase === "done" ? cut.doubled : "–"} />
				<Figure label="out of order" value={cut.phase === "done" ? cut.disordered : "–"} />
			</dl>
			{cut.missed.length > 0 && (
				<ol className="cells" aria-label="Events stored during the cut; filled: delivered here">
					{cut.missed.map((m) => (
						<li key={m.offset} data-here={m.here}>
							{m.n}
						</li>
					))}
				</ol>
			)}
		</section>
	);
}

function Figure({ label, value }: { label: string; value: number | string }): ReactElement {
	return (
		<div>
			<dt>{label}</dt>
			<dd>{typeof value === "number" ? number.format(value) : value}</dd>
		</div>
	);
}

export function StreamCard({ live }: { live: Live }): ReactElement {
	const { total, missing, doubled, cut } = useStore(live.feed.state);
	const { state } = useConnectionState(live.client);
	const busy = cut !== undefined && cut.phase !== "done" && cut.phase !== "failed";
	const start = (): void => {
		live.latency.forget();
		live.feed.demonstrate();
	};
	return (
		<section className="card hero" aria-labelledby="stream-title">
			<div className="pitch">
				<h2 id="stream-title">Cut the line. Lose nothing.</h2>
				<p>
					Each event below is stored, numbered, and sent to this page. Cut the page off: the node
					goes on without it, and the replay fills the hole, each event once and in order.
				</p>
				<button type="button" className="button cut" {...off(busy || state !== "connected", start)}>
					Cut my connection
					<span className="dim"> {cutLength / 1000} s</span>
				</button>
			</div>
			<Picture live={live} />
			<p className="tally">
				<b>{number.format(total)}</b> events since you came ·{" "}
				<span>
					<b data-bad={missing > 0}>{missing}</b> missing ·{" "}
				</span>
				<span>
					<b data-bad={doubled > 0}>{doubled}</b> twice
				</span>
			</p>
			{cut && <Proof cut={cut} />}
		</section>
	);
}
