// The program in a worker: of a page, shared by pages, or the service worker.

import type * as sdk from "../../src/index.js";
import { program } from "./program.js";

/** Runs it for who asks, and answers at the port that came along. */
export function serve(client: typeof sdk): void {
	const answer = (e: MessageEvent & { waitUntil?(work: Promise<unknown>): void }) => {
		const [port] = e.ports;
		const work = program(client, e.data).then(
			(seen) => port?.postMessage(seen),
			(error) => port?.postMessage(`${error}`),
		);
		e.waitUntil?.(work);
	};
	addEventListener("message", answer as EventListener);
	addEventListener("connect", (e) => {
		for (const port of (e as MessageEvent).ports) port.onmessage = answer;
	});
}
