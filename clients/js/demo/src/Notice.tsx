import type { ReactElement } from "react";
import type { Live } from "./live.js";
import { useStore } from "./store.js";

const isDisk = (reason: string): boolean => /\bdisk\b/.test(reason);

/** What the node refuses, and why: connected alone is not well. */
export function Notice({ live }: { live: Live }): ReactElement {
	const { feed, chat } = useStore(live.refusals);
	const { state } = useStore(live.connection);
	// The one that says what to do, of two.
	const why = chat && isDisk(chat) ? chat : (feed ?? chat);
	const refused = state === "connected" ? why : undefined;
	const what = feed ? (chat ? "the live feed and the chat" : "the live feed") : "the chat";
	return (
		<div role="alert">
			{refused !== undefined && (
				<section className="card notice">
					<h2>Connected, but the node refuses {what}</h2>
					<p>
						It says: <q>{refused}</q>.{" "}
						{isDisk(refused) && (
							<>
								Free some of the disk, or start the node with a larger <code>--disk-budget</code>.{" "}
							</>
						)}
						This page asks again by itself.
					</p>
				</section>
			)}
		</div>
	);
}
