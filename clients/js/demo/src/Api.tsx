import { type MouseEvent, type ReactElement, useRef, useState } from "react";

const path = "/openapi.yaml";

/** The description of the HTTP API, to read: by its type, browsers would keep it as a file. */
export function Api(): ReactElement {
	const dialog = useRef<HTMLDialogElement>(null);
	const [text, setText] = useState("Loading…");
	const open = (e: MouseEvent): void => {
		if (e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return;
		e.preventDefault();
		dialog.current?.showModal();
		fetch(path)
			.then((r) => (r.ok ? r.text() : Promise.reject(new Error(`status ${r.status}`))))
			.then(setText, (why: Error) => setText(`It could not be loaded: ${why.message}`));
	};
	return (
		<>
			<a href={path} aria-haspopup="dialog" onClick={open}>
				HTTP API
			</a>
			<dialog ref={dialog} className="api" aria-labelledby="api-title">
				<div className="head">
					<h2 id="api-title">HTTP API</h2>
					<a className="button quiet" href={path} download>
						Download
					</a>
					<button type="button" className="button quiet" onClick={() => dialog.current?.close()}>
						Close
					</button>
				</div>
				{/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard */}
				<pre tabIndex={0}>{text}</pre>
			</dialog>
		</>
	);
}
