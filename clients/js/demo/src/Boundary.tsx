import { Component, type ReactNode } from "react";

/** Keeps a failure of one card from taking the whole page with it. */
export class Boundary extends Component<
	{ name: string; children: ReactNode },
	{ failed: boolean }
> {
	override state = { failed: false };

	static getDerivedStateFromError(): { failed: boolean } {
		return { failed: true };
	}

	override render(): ReactNode {
		const { name, children } = this.props;
		if (!this.state.failed) return children;
		return (
			<section className="card" role="alert" aria-label={name}>
				<p>{name} has failed; the console says why. The rest of the page goes on.</p>
				<button
					type="button"
					className="button quiet"
					onClick={() => this.setState({ failed: false })}
				>
					Show it again
				</button>
			</section>
		);
	}
}
