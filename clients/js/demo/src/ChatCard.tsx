import {
	type FormEvent,
	type ReactElement,
	useEffect,
	useLayoutEffect,
	useRef,
	useState,
} from "react";
import { type ChatState, type Line, longest, nameOf, rooms, speaker } from "./chat.js";
import { Avatar } from "./Header.js";
import type { Live } from "./live.js";
import { off } from "./off.js";
import { useConnectionState } from "./sdk.js";
import { useStore } from "./store.js";
import { useTabs } from "./tabs.js";

const clock = new Intl.DateTimeFormat("en", {
	hour: "2-digit",
	minute: "2-digit",
	hourCycle: "h23",
});
const day = new Intl.DateTimeFormat("en", { weekday: "short", month: "short", day: "numeric" });
const together = 3 * 60_000;
const mostPeople = 200;

function Rooms({ live, chat }: { live: Live; chat: ChatState }): ReactElement {
	const { onKeyDown, tabProps } = useTabs(rooms, chat.room, (r) => live.chat.enter(r), "room");
	return (
		<div role="tablist" onKeyDown={onKeyDown} aria-label="Rooms" className="tabs">
			{rooms.map((r) => {
				const unread = chat.rooms[r]?.unread ?? 0;
				return (
					<button key={r} type="button" {...tabProps(r)}>
						<span aria-hidden="true">#</span>
						{r}
						{unread > 0 && (
							<span className="badge">
								{unread > 99 ? "99+" : unread}
								<span className="hidden"> unread</span>
							</span>
						)}
					</button>
				);
			})}
		</div>
	);
}

const sayPeople = (n: number): string =>
	n === 0 ? "Looking who is here…" : n === 1 ? "1 person here" : `${n} people here`;

function People({ live, chat }: { live: Live; chat: ChatState }): ReactElement {
	const { me } = live;
	const { state } = useConnectionState(live.client);
	const byUser = new Map(chat.members.map((m) => [m.user ?? m.client, m]));
	const users = [...byUser.values()];
	const notes = [
		chat.clients > users.length && `${chat.clients} connections`,
		state !== "connected" && "when last connected",
	].filter((note) => note !== false);
	return (
		<details className="people">
			<summary>
				<span className="faces" aria-hidden="true">
					{users.slice(0, 5).map((m) => (
						<Avatar key={m.client} id={m.user ?? m.client} name={nameOf(m)} />
					))}
				</span>
				<span>
					{sayPeople(users.length)}
					{notes.map((note) => (
						<span key={note} className="dim">
							, {note}
						</span>
					))}
				</span>
			</summary>
			<ul>
				{users.slice(0, mostPeople).map((m) => (
					<li key={m.client}>
						<Avatar id={m.user ?? m.client} name={nameOf(m)} />
						{nameOf(m)}
						{m.user === me.id && <span className="dim"> (you)</span>}
						<span className="dim since">since {clock.format(m.since)}</span>
					</li>
				))}
			</ul>
			<p className="hidden" role="status">
				{chat.news}
			</p>
		</details>
	);
}

/** A name that only the message says: by whose token it came, or that it came without one. */
function Claim({ line, names }: { line: Line; names: ChatState["names"] }): ReactElement | null {
	if (!line.claimed || names.has(line.user)) return null;
	if (!line.user) return <span className="dim">calls itself {line.claimed} </span>;
	return (
		<span
			className="dim mono"
			title="The user of its token, who is not here; the name is the message's."
		>
			{line.user}{" "}
		</span>
	);
}

/** At most so much of a text is shown before more is asked for. */
const most = { characters: 480, lines: 8 };

function Text({ line }: { line: Line }): ReactElement {
	const [open, setOpen] = useState(false);
	const { text } = line;
	const long = text.length > most.characters || text.split("\n").length > most.lines;
	return (
		<>
			<p
				className="text"
				data-short={long && !open}
				title={line.offset ? `offset ${line.offset}` : undefined}
			>
				{text}
			</p>
			{long && (
				<button type="button" className="link" aria-expanded={open} onClick={() => setOpen(!open)}>
					{open ? "Show less" : "Show all of it"}
				</button>
			)}
		</>
	);
}

function Entry({
	live,
	line,
	before,
	mine,
	names,
}: {
	live: Live;
	line: Line;
	before: Line | undefined;
	mine: boolean;
	names: ChatState["names"];
}): ReactElement {
	const name = speaker(line, names);
	const newDay = !before || day.format(before.time) !== day.format(line.time);
	const follows =
		!newDay &&
		before?.user === line.user &&
		before.claimed === line.claimed &&
		line.time - before.time < together;
	return (
		<>
			{newDay && <li className="day">{day.format(line.time)}</li>}
			<li className="line" data-follows={follows} data-status={line.status} data-mine={mine}>
				{!follows && <Avatar id={line.user || name} name={name} />}
				<div>
					{!follows && (
						<p className="who">
							<b>{name}</b> <Claim line={line} names={names} />
							<time dateTime={new Date(line.time).toISOString()}>{clock.format(line.time)}</time>
						</p>
					)}
					<Text line={line} />
					{line.status === "sending" && <p className="note">waiting to be stored…</p>}
					{line.status === "failed" && (
						<p className="note bad">
							not sent: {line.error}{" "}
							<button type="button" className="link" onClick={() => live.chat.retry(line)}>
								Try again
							</button>
						</p>
					)}
				</div>
			</li>
		</>
	);
}

function Lines({ live, chat }: { live: Live; chat: ChatState }): ReactElement {
	const room = chat.rooms[chat.room];
	const lines = room?.lines ?? [];
	const { chat: refused } = useStore(live.refusals);
	const box = useRef<HTMLDivElement>(null);
	const kept = useRef({ fromEnd: 0, atEnd: true });
	const remember = (): void => {
		const e = box.current;
		if (!e) return;
		const fromEnd = e.scrollHeight - e.scrollTop;
		kept.current = { fromEnd, atEnd: fromEnd - e.clientHeight < 48 };
	};
	const scrolled = (): void => {
		remember();
		if (room?.more && (box.current?.scrollTop ?? 1) < 1) live.chat.earlier();
	};
	useEffect(() => {
		const e = box.current;
		if (!e) return;
		const sizes = new ResizeObserver(() => {
			if (kept.current.atEnd) e.scrollTop = e.scrollHeight;
		});
		sizes.observe(e);
		return () => sizes.disconnect();
	}, []);
	const first = lines[0]?.offset;
	// A page of older lines moves nothing that is looked at.
	useLayoutEffect(() => {
		const e = box.current;
		if (e && !kept.current.atEnd) e.scrollTop = e.scrollHeight - kept.current.fromEnd;
	}, [first]);
	// At the end it stays there, also where a line comes before one that waits to be stored.
	useLayoutEffect(() => {
		const e = box.current;
		if (!e) return;
		if (kept.current.atEnd) e.scrollTop = e.scrollHeight;
		remember();
	}, [lines, chat.room]);
	return (
		<div
			className="lines"
			ref={box}
			onScroll={scrolled}
			// biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard
			tabIndex={0}
			role="log"
			aria-label={`Messages in ${chat.room}`}
		>
			{room?.more && lines.length > 0 && (
				<button
					type="button"
					className="button quiet earlier"
					{...off(room.loading, () => live.chat.earlier())}
				>
					{room.loading ? "Loading…" : "Earlier messages"}
				</button>
			)}
			{lines.length === 0 && (
				<p className="empty">
					{refused === undefined
						? "Nothing was said here yet. Say something, or post it from a terminal, as shown below."
						: `The node refuses this room: ${refused}. What you say waits.`}
				</p>
			)}
			<ol>
				{lines.map((line, i) => (
					<Entry
						key={line.offset || line.key}
						live={live}
						line={line}
						before={lines[i - 1]}
						mine={line.user === live.me.id}
						names={chat.names}
					/>
				))}
			</ol>
		</div>
	);
}

function Composer({ live, room }: { live: Live; room: string }): ReactElement {
	const [text, setText] = useState("");
	const { state } = useConnectionState(live.client);
	useEffect(() => setText(""), [room]);
	const submit = (e: FormEvent): void => {
		e.preventDefault();
		if (!text.trim()) return;
		live.chat.send(text.trim());
		setText("");
	};
	return (
		<form className="composer" onSubmit={submit}>
			<input
				value={text}
				onChange={(e) => setText(e.target.value)}
				maxLength={longest}
				aria-label={`Message to ${room}`}
				placeholder={state === "connected" ? `Message to #${room}` : "Not connected: it will wait"}
				autoComplete="off"
				enterKeyHint="send"
			/>
			<button type="submit" className="button">
				Send
			</button>
		</form>
	);
}

export function ChatCard({ live }: { live: Live }): ReactElement {
	const chat = useStore(live.chat.state);
	return (
		<section className="card chat" aria-labelledby="chat-title">
			<h2 id="chat-title" className="hidden">
				Chat
			</h2>
			<Rooms live={live} chat={chat} />
			<div
				className="panel"
				role="tabpanel"
				id={`room-panel-${chat.room}`}
				aria-labelledby={`room-tab-${chat.room}`}
			>
				<People live={live} chat={chat} />
				<Lines key={chat.room} live={live} chat={chat} />
				<Composer live={live} room={chat.room} />
			</div>
		</section>
	);
}
