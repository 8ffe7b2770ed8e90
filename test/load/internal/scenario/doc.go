//go:build linux

// Package scenario puts loads on a node and measures what it makes of them. Every
// scenario starts a node of its own, a process with an empty folder, unless it is
// given the address of one; node and generator share the machine. Every load is
// bounded in count and in time, and every message is checked for loss,
// repetition and order by its number within its channel.
package scenario
