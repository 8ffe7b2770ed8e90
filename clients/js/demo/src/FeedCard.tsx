import { type ReactElement, useState } from "react";
import { type FeedMessage, feedChannel } from "./feed.js";
import { hue } from "./identity.js";
import type { Live } from "./live.js";
import { useStore } from "./store.js";

function Item({ m }: { m: FeedMessage }): ReactElement {
	const { n, project, subject, author, commit } = m.data;
	const short = project.slice(project.indexOf("/") + 1);
	return (
		<li>
			<p className="meta">
				<span className="project" style={{ "--hue": hue(project) } as React.CSSProperties}>
					{short}
				</span>
				<span className="dim mono">{commit.slice(0, 7)}</span>
				<span className="dim num">#{n}</span>
			</p>
			<p className="subject">{subject}</p>
			<p className="hidden">by {author}</p>
		</li>
	);
}

export function FeedCard({ live }: { live: Live }): ReactElement {
	const { events, total } = useStore(live.feed.state);
	const { feed: refused } = useStore(live.refusals);
	// What moves by itself must be stoppable; it arrives all the same.
	const [held, hold] = useState<{ events: readonly FeedMessage[]; total: number }>();
	const shown = held?.events ?? events;
	const waiting = held ? total - held.total : 0;
	return (
		<section className="card feed" aria-labelledby="feed-title">
			<div className="head">
				<h2 id="feed-title">Live feed</h2>
				<button
					type="button"
					className="button quiet"
					aria-pressed={held !== undefined}
					onClick={() => hold(held ? undefined : { events, total })}
				>
					{held ? `Resume${waiting ? ` (${waiting} new)` : ""}` : "Pause"}
				</button>
			</div>
			<p className="note">
				Real commits, played by the node into <code>{feedChannel}</code> while somebody watches.
			</p>
			{shown.length === 0 && (
				<p className="empty">
					{refused === undefined
						? "Waiting for the first event…"
						: `The node refuses it: ${refused}.`}
				</p>
			)}
			{/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard */}
			<ol tabIndex={0} aria-label="Events, newest first">
				{shown.toReversed().map((m) => (
					<Item key={m.offset} m={m} />
				))}
			</ol>
		</section>
	);
}
