import { createRoot } from "react-dom/client";
import { App } from "./App.js";
import { Boundary } from "./Boundary.js";
import "./style.css";

const root = document.getElementById("root");
if (root) {
	createRoot(root).render(
		<Boundary name="The page">
			<App />
		</Boundary>,
	);
}
