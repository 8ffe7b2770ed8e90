// Cuts a client off its network: what it has open ends as if a cable had been pulled, and
// what it opens anew fails, until the cut ends. The client is not told in any other way.

import type { WebSocketClass, WebSocketLike } from "./sdk.js";

const CONNECTING = 0;
const CLOSED = 3;

/** A WebSocket that can be cut; everything else is the browser's. */
class CutSocket implements WebSocketLike {
	onopen: WebSocketLike["onopen"] = null;
	onmessage: WebSocketLike["onmessage"] = null;
	onclose: WebSocketLike["onclose"] = null;
	onerror: WebSocketLike["onerror"] = null;
	/** None where the cut was there first. */
	readonly #socket: WebSocket | undefined;
	#over = false;

	constructor(cut: Cut, url: string, protocols?: string[]) {
		if (cut.on) {
			setTimeout(() => this.#end(), 20);
			return;
		}
		const socket = new WebSocket(url, protocols);
		this.#socket = socket;
		const forget = cut.add(() => {
			socket.onmessage = null;
			socket.close();
			this.#end();
		});
		socket.onopen = (e) => this.onopen?.(e);
		socket.onmessage = (e) => this.onmessage?.(e);
		socket.onerror = (e) => this.onerror?.(e);
		socket.onclose = (e) => {
			forget();
			if (!this.#over) this.onclose?.(e);
		};
	}

	/** Without a word of the other side: RFC 6455 calls that 1006. */
	#end(): void {
		this.#over = true;
		this.onerror?.(new Event("error"));
		this.onclose?.({ code: 1006, reason: "" });
	}

	get binaryType(): string {
		return this.#socket?.binaryType ?? "blob";
	}
	set binaryType(type: string) {
		if (this.#socket) this.#socket.binaryType = type as BinaryType;
	}
	get readyState(): number {
		return this.#over ? CLOSED : (this.#socket?.readyState ?? CONNECTING);
	}
	get bufferedAmount(): number {
		return this.#socket?.bufferedAmount ?? 0;
	}
	get protocol(): string {
		return this.#socket?.protocol ?? "";
	}
	send(data: any): void {
		if (!this.#over) this.#socket?.send(data);
	}
	close(code?: number, reason?: string): void {
		this.#socket?.close(code, reason);
	}
}

const isStream = (r: Response): boolean =>
	r.headers.get("Content-Type")?.startsWith("text/event-stream") === true;

export class Cut {
	#on = false;
	readonly #open = new Set<() => void>();
	/** For `ClientOptions.WebSocket`. */
	readonly WebSocket: WebSocketClass;

	constructor() {
		const cut = this;
		this.WebSocket = class extends CutSocket {
			constructor(url: string, protocols?: string[]) {
				super(cut, url, protocols);
			}
		};
	}

	get on(): boolean {
		return this.#on;
	}

	/** `end` is called when the cut begins, unless it is forgotten before. */
	add(end: () => void): () => void {
		this.#open.add(end);
		return () => this.#open.delete(end);
	}

	/** For `ClientOptions.fetch`: answers that stream are cut in the middle. */
	readonly fetch: typeof fetch = async (input, init) => {
		if (this.#on) throw new TypeError("the connection is cut");
		const request = new AbortController();
		const forget = this.add(() => request.abort(new TypeError("the connection was cut")));
		const outer = init?.signal;
		const give = (): void => {
			forget();
			request.abort(outer?.reason);
		};
		if (outer?.aborted) give();
		outer?.addEventListener("abort", give, { once: true });
		const done = (): void => {
			forget();
			outer?.removeEventListener("abort", give);
		};
		try {
			const response = await fetch(input, { ...init, signal: request.signal });
			// Others are here as a whole a moment after their headers.
			if (!response.body || !isStream(response)) {
				done();
				return response;
			}
			const body = response.body.pipeThrough(new TransformStream({ flush: done }));
			return new Response(body, response);
		} catch (error) {
			done();
			throw error;
		}
	};

	start(): void {
		this.#on = true;
		for (const end of [...this.#open]) end();
		this.#open.clear();
	}

	end(): void {
		this.#on = false;
	}
}
