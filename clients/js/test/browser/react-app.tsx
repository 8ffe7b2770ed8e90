// A small application with the hooks, for react.test.ts.

import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { Client } from "../../src/index.js";
import { useChannel, useConnectionState, usePresence } from "../../src/react/index.js";

let client: Client;

function Room({ name }: { name: string }) {
	const { messages, live, gap, error, publish } = useChannel<string>(client, name, {
		last: 5,
		keep: 5,
	});
	return (
		<section>
			<p id="live">{live ? "live" : (error?.message ?? "not yet")}</p>
			<ul id="messages">
				{messages.map((m) => (
					<li key={m.offset}>{m.data}</li>
				))}
			</ul>
			<p id="gap">{gap}</p>
			<button type="button" id="say" onClick={() => void publish("hello")}>
				say
			</button>
		</section>
	);
}

function Who({ name }: { name: string }) {
	const { members, clients } = usePresence(client, name);
	return <p id="who">{members ? `${members.length} of ${clients}` : "unknown"}</p>;
}

function App() {
	const { state } = useConnectionState(client);
	const [room, setRoom] = useState("chat:first");
	const [who, setWho] = useState(false);
	return (
		<>
			<p id="state">{state}</p>
			<Room name={room} />
			{who ? <Who name={room} /> : null}
			<button type="button" id="other" onClick={() => setRoom("chat:second")}>
				other room
			</button>
			<button type="button" id="members" onClick={() => setWho(!who)}>
				members
			</button>
		</>
	);
}

/** Called by the test. */
export function start(url: string, transports: ("websocket" | "sse" | "poll")[]): void {
	client = new Client(url, { transports });
	const root = document.getElementById("root");
	if (!root) throw new Error("no root");
	createRoot(root).render(
		<StrictMode>
			<App />
		</StrictMode>,
	);
}
