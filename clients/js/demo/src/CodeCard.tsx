import { type ReactElement, useState } from "react";
import { useTabs } from "./tabs.js";

const origin = location.origin;

const samples = {
	page: {
		title: "Any page",
		code: `import { Client } from "@rivulet-rt/client";

const client = new Client("${origin}", {
  token: async () => (await fetch("/my-token")).text(), // asked again before it expires
  storage: localStorage,
});
const lobby = client.channel<{ text: string }>("chat:lobby");

// The last 30, then live; after a reload it goes on where the page was.
lobby.subscribe({ last: 30, persist: true }, {
  message: (m) => console.log(m.offset, m.data.text),
});

await lobby.publish({ text: "hello" }); // resolves when it is stored`,
	},
	react: {
		title: "React",
		code: `import { Client } from "@rivulet-rt/client";
import { useChannel, useConnectionState, usePresence } from "@rivulet-rt/client/react";

const client = new Client("${origin}");

function Lobby() {
  const lobby = useChannel<{ text: string }>(client, "chat:lobby", { last: 30 });
  const { clients } = usePresence(client, "chat:lobby");
  const { state } = useConnectionState(client);
  return (
    <>
      <p>{state}, {clients} here</p>
      {lobby.messages.map((m) => <p key={m.offset}>{m.data.text}</p>)}
      <button onClick={() => lobby.publish({ text: "hello" })}>Say hello</button>
    </>
  );
}`,
	},
	curl: {
		title: "Terminal",
		code: `# It shows up in the chat above.
curl -d '{"data":{"text":"hello from a terminal"}}' \\
  -H 'Content-Type: application/json' \\
  ${origin}/v1/channels/chat:lobby/messages

# The feed, in a terminal.
rivulet subscribe demo:commits --last 5 --url ${origin}`,
	},
} as const;
type Sample = keyof typeof samples;
const names = Object.keys(samples) as Sample[];

/** Comments, strings and a few words; everything else is as it is. */
const pieces =
	/(\/\/[^\n]*|^#[^\n]*)|("[^"\n]*"|'[^'\n]*')|\b(import|from|const|await|new|async|function|return|curl|rivulet)\b/gm;

function highlight(code: string): ReactElement[] {
	const out: ReactElement[] = [];
	let end = 0;
	for (const m of code.matchAll(pieces)) {
		const kind = m[1] ? "comment" : m[2] ? "string" : "word";
		out.push(<span key={end}>{code.slice(end, m.index)}</span>);
		out.push(
			<span key={`${m.index}!`} className={kind}>
				{m[0]}
			</span>,
		);
		end = m.index + m[0].length;
	}
	out.push(<span key="rest">{code.slice(end)}</span>);
	return out;
}

function Copy({ text }: { text: string }): ReactElement {
	const [said, say] = useState("");
	const copy = (): void => {
		navigator.clipboard.writeText(text).then(
			() => say("Copied"),
			() => say("Not allowed"),
		);
		setTimeout(() => say(""), 2000);
	};
	return (
		<button type="button" className="button quiet" onClick={copy}>
			<span role="status">{said || "Copy"}</span>
		</button>
	);
}

export function CodeCard(): ReactElement {
	const [current, choose] = useState<Sample>("page");
	const { onKeyDown, tabProps } = useTabs(names, current, choose, "code");
	return (
		<section className="card code" aria-labelledby="code-title">
			<h2 id="code-title">In your page</h2>
			<div className="tabbar">
				<div role="tablist" onKeyDown={onKeyDown} aria-label="Ways to use it" className="tabs">
					{names.map((n) => (
						<button key={n} type="button" {...tabProps(n)}>
							{samples[n].title}
						</button>
					))}
				</div>
				<Copy text={samples[current].code} />
			</div>
			<div
				className="panel"
				role="tabpanel"
				id={`code-panel-${current}`}
				aria-labelledby={`code-tab-${current}`}
			>
				{/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard */}
				<pre tabIndex={0}>
					<code>{highlight(samples[current].code)}</code>
				</pre>
			</div>
		</section>
	);
}
