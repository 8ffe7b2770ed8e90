/** A button that does nothing now, and keeps the focus of who has pressed it: `disabled` drops it. */
export const off = (is: boolean, onClick: () => unknown) => ({
	"aria-disabled": is,
	onClick: is ? undefined : onClick,
});
