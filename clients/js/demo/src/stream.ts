// Draws the passages of the feed: stored above, delivered below, a stroke from the one to
// the other. A replay is a fan.

import type { Feed, Passage } from "./feed.js";

interface Paint {
	ink: string;
	muted: string;
	line: string;
	accent: string;
	warn: string;
	warnSoft: string;
	surface: string;
}

const font = "11px ui-sans-serif, system-ui, sans-serif";
const storedLabel = "stored by the node";
const margin = { left: 0, right: 14, top: 26, bottom: 24 };
const mostSeconds = 26;
const leastSeconds = 15;
const pixelsPerSecond = 34;

/** Colors are variables of the style sheet; the canvas needs what they come to now. */
function readPaint(host: HTMLElement): Paint {
	const probe = document.createElement("span");
	probe.className = "probe"; // forced colors are what the variables say, too
	host.append(probe);
	const color = (name: string): string => {
		probe.style.color = `var(--${name})`;
		return getComputedStyle(probe).color;
	};
	const paint = {
		ink: color("ink"),
		muted: color("muted"),
		line: color("line"),
		accent: color("accent"),
		warn: color("warn"),
		warnSoft: color("warn-soft"),
		surface: color("surface"),
	};
	probe.remove();
	return paint;
}

class Picture {
	readonly #c: CanvasRenderingContext2D;
	readonly #feed: Feed;
	#width = 0;
	/** Left of it is what the line is, and no number. */
	#named = 0;
	#height = 0;
	paint: Paint;

	constructor(canvas: HTMLCanvasElement, c: CanvasRenderingContext2D, feed: Feed) {
		this.#c = c;
		this.#feed = feed;
		this.paint = readPaint(canvas.parentElement ?? document.body);
	}

	resize(canvas: HTMLCanvasElement): void {
		const ratio = Math.min(3, devicePixelRatio || 1);
		this.#width = canvas.clientWidth;
		this.#height = canvas.clientHeight;
		canvas.width = Math.round(this.#width * ratio);
		canvas.height = Math.round(this.#height * ratio);
		this.#c.setTransform(ratio, 0, 0, ratio, 0, 0);
		this.#c.font = font;
		this.#named = this.#c.measureText(storedLabel).width + 28;
	}

	get #right(): number {
		return this.#width - margin.right;
	}
	get #above(): number {
		return margin.top;
	}
	get #below(): number {
		return this.#height - margin.bottom;
	}

	/** Where a time is; now is at the right. */
	#x(time: number, now: number): number {
		const wide = (this.#right - margin.left) / pixelsPerSecond;
		const seconds = Math.min(mostSeconds, Math.max(leastSeconds, wide));
		return this.#right - ((now - time) / 1000) * ((this.#right - margin.left) / seconds);
	}

	draw(now: number): void {
		const c = this.#c;
		c.clearRect(0, 0, this.#width, this.#height);
		c.save();
		c.beginPath();
		c.rect(0, 0, this.#width, this.#height);
		c.clip();
		for (const cut of this.#feed.cuts) this.#band(cut.from, Math.min(now, cut.until), now);
		this.#lanes();
		for (const p of this.#feed.passages) this.#stroke(p, now);
		for (const p of this.#feed.passages) this.#dots(p, now);
		this.#counts(now);
		this.#labels();
		c.restore();
	}

	#lanes(): void {
		const c = this.#c;
		c.strokeStyle = this.paint.line;
		c.lineWidth = 1;
		for (const y of [this.#above, this.#below]) {
			c.beginPath();
			c.moveTo(0, y);
			c.lineTo(this.#right, y);
			c.stroke();
		}
		c.setLineDash([2, 4]);
		c.beginPath();
		c.moveTo(this.#right, this.#above - 8);
		c.lineTo(this.#right, this.#below + 8);
		c.stroke();
		c.setLineDash([]);
	}

	/** The time without a connection. */
	#band(from: number, until: number, now: number): void {
		const c = this.#c;
		const [x1, x2] = [this.#x(from, now), this.#x(until, now)];
		if (x2 < 0) return;
		c.save();
		c.beginPath();
		c.rect(x1, this.#above, x2 - x1, this.#below - this.#above);
		c.clip();
		c.fillStyle = this.paint.warnSoft;
		c.fillRect(x1, this.#above, x2 - x1, this.#below - this.#above);
		c.restore();
		c.strokeStyle = this.paint.warn;
		c.lineWidth = 1.5;
		for (const x of [x1, x2]) {
			c.beginPath();
			c.moveTo(x, this.#below - 10);
			c.lineTo(x, this.#below + 6);
			c.stroke();
		}
		c.fillStyle = this.paint.warn;
		this.#text("cut", (Math.max(x1, 0) + x2) / 2, this.#below - 8, "center");
	}

	#stroke(p: Passage, now: number): void {
		if (p.delivered === undefined || p.delivered > now || p.old) return;
		const c = this.#c;
		const [x1, x2] = [this.#x(p.stored, now), this.#x(p.delivered, now)];
		// What was stored longer ago than is shown has no beginning here.
		if (x2 < -4 || x2 - x1 > this.#right) return;
		const bend = (this.#below - this.#above) * 0.55;
		c.beginPath();
		c.moveTo(x1, this.#above);
		c.bezierCurveTo(x1, this.#above + bend, x2, this.#below - bend, x2, this.#below);
		c.strokeStyle = p.late ? this.paint.warn : this.paint.accent;
		c.globalAlpha = p.late ? 0.75 : 0.45;
		c.lineWidth = 1.25;
		c.stroke();
		c.globalAlpha = 1;
	}

	#dots(p: Passage, now: number): void {
		if (p.old) return;
		const x = this.#x(p.stored, now);
		const here = p.delivered !== undefined;
		if (x > -60) {
			this.#dot(
				x,
				this.#above,
				here ? (p.late ? this.paint.warn : this.paint.accent) : this.paint.warn,
				here,
			);
			if (p.n % 10 === 0 && x > this.#named) {
				this.#c.fillStyle = this.paint.muted;
				this.#text(`#${p.n}`, x, this.#above - 10, "center");
			}
		}
		if (p.delivered === undefined) return;
		const at = this.#x(p.delivered, now);
		if (at > -8) this.#dot(at, this.#below, p.late ? this.paint.warn : this.paint.accent, true);
	}

	#dot(x: number, y: number, color: string, full: boolean): void {
		const c = this.#c;
		c.beginPath();
		c.arc(x, y, full ? 2.75 : 3, 0, 7);
		if (full) {
			c.fillStyle = color;
			c.fill();
			return;
		}
		c.strokeStyle = color;
		c.lineWidth = 1.5;
		c.stroke();
	}

	/** How many came at once after a cut. */
	#counts(now: number): void {
		for (const [i, cut] of this.#feed.cuts.entries()) {
			const next = this.#feed.cuts[i + 1]?.from ?? now;
			const late = this.#feed.passages.filter(
				({ late, delivered = 0 }) => late && delivered > cut.from && delivered <= next,
			);
			const first = late[0]?.delivered;
			if (first === undefined || late.length < 2) continue;
			this.#c.fillStyle = this.paint.warn;
			const x = this.#x(first, now);
			const side = x > this.#right - 70 ? "right" : "left";
			this.#text(`${late.length} replayed`, x + (side === "left" ? 8 : -8), this.#below - 8, side);
		}
	}

	#labels(): void {
		this.#c.fillStyle = this.paint.muted;
		this.#text("delivered to this page", 0, this.#below + 17, "left");
		this.#text("now", this.#right, this.#below + 17, "center");
		this.#text(storedLabel, 0, this.#above - 10, "left");
	}

	#text(text: string, x: number, y: number, align: CanvasTextAlign): void {
		const c = this.#c;
		c.font = font;
		c.textAlign = align;
		c.lineJoin = "round";
		c.lineWidth = 4;
		c.strokeStyle = this.paint.surface; // what is behind does not run through it
		c.strokeText(text, x, y);
		c.fillText(text, x, y);
	}
}

/** Draws until the returned function is called; without motion once a second. */
export function animateStream(canvas: HTMLCanvasElement, feed: Feed): () => void {
	const context = canvas.getContext("2d");
	if (!context) return () => {};
	const picture = new Picture(canvas, context, feed);
	const calm = matchMedia("(prefers-reduced-motion: reduce)");
	const looks = ["(prefers-color-scheme: dark)", "(forced-colors: active)"].map((q) =>
		matchMedia(q),
	);
	let frame = 0;
	let drawn = 0;
	const loop = (now: number): void => {
		frame = requestAnimationFrame(loop);
		if (calm.matches && now - drawn < 1000) return;
		drawn = now;
		picture.draw(now);
	};
	const repaint = (): void => {
		picture.paint = readPaint(canvas.parentElement ?? document.body);
		drawn = 0;
	};
	const sizes = new ResizeObserver(() => {
		picture.resize(canvas);
		picture.draw(performance.now());
	});
	const theme = new MutationObserver(repaint);
	sizes.observe(canvas);
	theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
	for (const look of looks) look.addEventListener("change", repaint);
	picture.resize(canvas);
	frame = requestAnimationFrame(loop);
	return () => {
		cancelAnimationFrame(frame);
		sizes.disconnect();
		theme.disconnect();
		for (const look of looks) look.removeEventListener("change", repaint);
	};
}
