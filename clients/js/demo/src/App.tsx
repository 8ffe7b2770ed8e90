import { type ReactElement, useEffect, useRef, useState } from "react";
import { Api } from "./Api.js";
import { Boundary } from "./Boundary.js";
import { ChatCard } from "./ChatCard.js";
import { CodeCard } from "./CodeCard.js";
import { ConnectionCard } from "./ConnectionCard.js";
import { FeedCard } from "./FeedCard.js";
import { Header } from "./Header.js";
import { type Identity, loadIdentity, saveName } from "./identity.js";
import { LatencyCard } from "./LatencyCard.js";
import { createLive, type Live } from "./live.js";
import { Notice } from "./Notice.js";
import { StreamCard } from "./StreamCard.js";
import type { TransportName } from "./sdk.js";

/** What may be chosen; `auto` is what a client does by itself. */
export const transportChoices = {
	auto: ["websocket", "sse", "poll"],
	websocket: ["websocket"],
	sse: ["sse"],
	poll: ["poll"],
} as const satisfies Record<string, readonly TransportName[]>;
export type TransportChoice = keyof typeof transportChoices;

export function App(): ReactElement {
	const [me, setMe] = useState<Identity>(loadIdentity);
	const [choice, choose] = useState<TransportChoice>("auto");
	const [live, setLive] = useState<Live>();

	const before = useRef<Live>(undefined);

	useEffect(() => {
		const made = createLive(me, transportChoices[choice], before.current);
		before.current = made;
		setLive(made);
		return () => made.close();
	}, [me, choice]);

	if (!live) return <main aria-busy="true" />;
	return (
		<>
			<a className="skip" href="#main">
				Skip to the content
			</a>
			<Header
				live={live}
				rename={(name) => setMe((old) => (old.name === name ? old : saveName(old, name)))}
			/>
			<Notice live={live} />
			<main id="main" tabIndex={-1}>
				<Boundary name="The picture">
					<StreamCard live={live} />
				</Boundary>
				<Boundary name="The chat">
					<ChatCard live={live} />
				</Boundary>
				<Boundary name="The live feed">
					<FeedCard live={live} />
				</Boundary>
				<Boundary name="The connection">
					<ConnectionCard live={live} choice={choice} choose={choose} />
				</Boundary>
				<Boundary name="Latency">
					<LatencyCard live={live} />
				</Boundary>
				<Boundary name="The code">
					<CodeCard />
				</Boundary>
			</main>
			<footer className="foot">
				<p>
					This page is what <code>rivulet serve --dev</code> serves at <code>/</code>. A node
					without <code>--dev</code> has none.
				</p>
				<nav aria-label="Of this node">
					<Api />
					<a href="/metrics">Metrics</a>
					<a href="/readyz">Readiness</a>
					<a href="/licenses.md">Licenses</a>
				</nav>
			</footer>
		</>
	);
}
