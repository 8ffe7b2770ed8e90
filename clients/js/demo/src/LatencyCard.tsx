import type { ReactElement } from "react";
import { ms } from "./ConnectionCard.js";
import { type Burst, burstSize, sampleCount } from "./latency.js";
import type { Live } from "./live.js";
import { off } from "./off.js";
import { useConnectionState } from "./sdk.js";
import { useStore } from "./store.js";

const width = 360;
const height = 110;
const lines = [1, 10, 100, 1000];
const [least, most] = [0.4, 3000];

/** Logarithmic, for a millisecond and a second are both worth seeing. */
function y(n: number): number {
	const at = Math.log(Math.min(most, Math.max(least, n)) / least) / Math.log(most / least);
	return height - at * height;
}

function Plot(props: { samples: readonly number[]; p50: number; p99: number }): ReactElement {
	const { samples, p50, p99 } = props;
	const step = width / sampleCount;
	const bars = samples
		.map((n, i) => {
			const x = (width - (samples.length - i) * step).toFixed(1);
			return `M${x} ${height}V${y(n).toFixed(1)}`;
		})
		.join("");
	return (
		<svg
			viewBox={`0 0 ${width} ${height}`}
			preserveAspectRatio="none"
			className="plot"
			role="img"
			aria-label={`The last ${samples.length} messages took ${ms(p50)} in the middle, ${ms(p99)} at the 99th percentile.`}
		>
			{lines.map((n) => (
				<path key={n} className="rule" d={`M0 ${y(n)}H${width}`} />
			))}
			<path className="bars" d={bars} />
			<path className="p99" d={`M0 ${y(p99)}H${width}`} />
			<path className="p50" d={`M0 ${y(p50)}H${width}`} />
		</svg>
	);
}

function sayBurst({ arrived, p50, last }: Burst): string {
	if (arrived === 0) return "None came back in time.";
	const all = arrived === burstSize ? "all" : `${arrived} of them`;
	return `Half were here in ${ms(p50)}, ${all} in ${ms(last)}.`;
}

export function LatencyCard({ live }: { live: Live }): ReactElement {
	const { samples, p50, p99, busy, burst } = useStore(live.latency.state);
	const { state } = useConnectionState(live.client);
	return (
		<section className="card latency" aria-labelledby="latency-title">
			<h2 id="latency-title">Publish to delivery</h2>
			<dl className="figures">
				<div data-key="p50">
					<dt>p50</dt>
					<dd>{ms(p50)}</dd>
				</div>
				<div data-key="p99">
					<dt>p99</dt>
					<dd>{ms(p99)}</dd>
				</div>
				<div>
					<dt>last</dt>
					<dd>{ms(samples.at(-1))}</dd>
				</div>
			</dl>
			<div className="plotbox">
				<Plot samples={samples} p50={p50 ?? least} p99={p99 ?? least} />
				<ul aria-hidden="true">
					{lines.map((n) => (
						<li key={n} style={{ top: `${(y(n) / height) * 100}%` }}>
							{n < 1000 ? `${n} ms` : "1 s"}
						</li>
					))}
				</ul>
			</div>
			<p className="note">Page to log and back, once a second.</p>
			<div className="burst">
				<button
					type="button"
					className="button quiet"
					{...off(busy || state !== "connected", () => live.latency.burst())}
				>
					Send {burstSize} at once
				</button>
				<p className="note" role="status">
					{busy ? "On their way…" : burst && sayBurst(burst)}
				</p>
			</div>
		</section>
	);
}
