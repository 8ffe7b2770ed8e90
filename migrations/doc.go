// Package migrations owns the layout of the log in JetStream: how streams,
// subjects and key-value buckets are named and configured, how a stream's epoch
// is recorded, and the numbered, forward-only steps that bring an older topology
// up to date.
//
// It promises that every function may be called by several nodes at once: what
// they create is the same, what they change is guarded by compare-and-set or by
// a lease that the server expires, and what was applied is recorded with its
// time and the node that did it. It refuses to touch a topology that is newer
// than the binary.
//
// It does not publish or read messages of channels, runs no goroutines of its
// own that outlive a call, and imports nothing else of this module.
package migrations
