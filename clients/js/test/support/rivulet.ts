// Starts real nodes: the binary that the global set-up has built, each with a log of its own.

import { type ChildProcess, spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** What a node is started with; `set` are keys of its configuration. */
export interface NodeOptions {
	set?: Record<string, string>;
	env?: Record<string, string>;
	/** Without --dev: tokens are needed, see `Node.token`. */
	closed?: boolean;
	nats?: string;
	/** A folder of an earlier node, to go on with its log. */
	data?: string;
	/** host:port, to come back at the same address; a free one otherwise. */
	listen?: string;
}

/** A running node. */
export class Node {
	readonly lines: string[] = [];
	url = "";
	private constructor(
		private readonly child: ChildProcess,
		readonly data: string,
		private readonly secret: string,
		private readonly ownsData: boolean,
	) {}

	static async start(o: NodeOptions = {}): Promise<Node> {
		const data = o.data ?? (await mkdtemp(join(tmpdir(), "rivulet-js-")));
		const secret = process.env.TEST_SECRET ?? "";
		const args = ["serve", "--log-format", "json", "--listen", o.listen ?? "127.0.0.1:0"];
		if (o.nats) args.push("--nats-url", o.nats);
		else args.push("--data", data, "--disk-budget", "2GiB");
		if (!o.closed) args.push("--dev");
		for (const [key, value] of Object.entries(o.set ?? {})) args.push("--set", `${key}=${value}`);
		const child = spawn(process.env.TEST_RIVULET_BIN ?? "", args, {
			stdio: ["ignore", "ignore", "pipe"],
			env: { ...process.env, ...(o.closed ? { RIVULET_AUTH_HMAC_SECRET: secret } : {}), ...o.env },
		});
		const node = new Node(child, data, secret, o.data === undefined);
		await node.started();
		return node;
	}

	private started(): Promise<void> {
		const { child } = this;
		return new Promise((resolve, reject) => {
			const log = child.stderr;
			if (!log) return reject(new Error("no stderr"));
			createInterface({ input: log }).on("line", (line) => {
				this.lines.push(line);
				const address = /"msg":"started".*"address":"([^"]+)"/.exec(line)?.[1];
				if (address) {
					this.url = `http://${address}`;
					resolve();
				}
			});
			child.once("error", reject);
			child.once("exit", (code) =>
				reject(new Error(`the node ended with ${code}:\n${this.lines.slice(-20).join("\n")}`)),
			);
		});
	}

	get address(): string {
		return new URL(this.url).host;
	}

	/** A token of this node's secret. */
	token(claims: Record<string, unknown> = {}, seconds = 3600): string {
		const now = Math.floor(Date.now() / 1000);
		const part = (o: unknown) => Buffer.from(JSON.stringify(o)).toString("base64url");
		const all = { sub: "ada", iat: now, exp: now + seconds, caps: everything, ...claims };
		const body = `${part({ alg: "HS256", typ: "JWT" })}.${part(all)}`;
		return `${body}.${createHmac("sha256", this.secret).update(body).digest("base64url")}`;
	}

	/** Stores a message over HTTP and returns its offset. */
	async publish(channel: string, data: unknown, token?: string): Promise<number> {
		const response = await fetch(
			`${this.url}/v1/channels/${encodeURIComponent(channel)}/messages`,
			{
				method: "POST",
				headers: {
					"Content-Type": "application/json",
					...(token ? { Authorization: `Bearer ${token}` } : {}),
				},
				body: JSON.stringify({ data }),
			},
		);
		const body = (await response.json()) as { data?: { offset?: number }; message?: string };
		if (response.status !== 201) throw new Error(`publish: ${response.status} ${body.message}`);
		return body.data?.offset ?? 0;
	}

	/** Asks it to end, as an orchestrator does, and waits. */
	async stop(): Promise<void> {
		await this.end("SIGTERM");
		if (this.ownsData) await rm(this.data, { recursive: true, force: true });
	}

	/** Ends it without a word. */
	kill(): Promise<void> {
		return this.end("SIGKILL");
	}

	private end(signal: NodeJS.Signals): Promise<void> {
		const { child } = this;
		if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
		return new Promise((resolve) => {
			child.once("exit", () => resolve());
			child.kill(signal);
		});
	}
}

const everything = { "*:>": ["subscribe", "publish", "history", "presence"] };

/** A NATS server with JetStream, for nodes that share a log. */
export async function startNATS(): Promise<{ url: string; stop(): Promise<void> }> {
	const data = await mkdtemp(join(tmpdir(), "rivulet-js-nats-"));
	const child = spawn(
		process.env.TEST_NATS_BIN ?? "",
		["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", data],
		{
			stdio: ["ignore", "ignore", "pipe"],
		},
	);
	const url = await new Promise<string>((resolve, reject) => {
		let last = "";
		createInterface({ input: child.stderr }).on("line", (line) => {
			const port = /Listening for client connections on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
			if (port) last = `nats://127.0.0.1:${port}`;
			if (line.includes("Server is ready")) resolve(last);
		});
		child.once("error", reject);
		child.once("exit", (code) => reject(new Error(`the NATS server ended with ${code}`)));
	});
	return {
		url,
		stop: () =>
			new Promise((resolve) => {
				child.once("exit", () => resolve(rm(data, { recursive: true, force: true })));
				child.kill("SIGTERM");
			}),
	};
}

/** A secret for the nodes of one run of the tests. */
export function newSecret(): string {
	return randomBytes(48).toString("base64");
}
