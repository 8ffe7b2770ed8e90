// Before the first paint, so that a theme that was chosen does not flash.
try {
	const theme = localStorage.getItem("rivulet-demo:theme");
	if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
	// Storage is off; the system's theme it is.
}
