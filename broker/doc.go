// Package broker puts NATS JetStream behind the interfaces of fanout: it stores
// what is published, feeds the hub with what was stored, and reads the log.
//
// It owns the embedded NATS server with its data directory, or the connections
// to a remote one; the acknowledgement of every publish; the one goroutine that
// calls the hub; and the evidence from which fanout.Complete decides whether
// history is whole.
//
// It promises: a receipt means that JetStream acknowledged the message; an error
// that says "nothing was stored" is only given where that is certain, and
// *fanout.OutcomeUnknownError where it is not; before the first message that
// follows a possible loss on the live feed is dispatched, the hub is told through
// Suspect; evidence and tails come from a stream's leader. It does not promise
// that the live feed is complete or free of duplicates: the hub's order check,
// with the log, sees to that.
//
// Control is how nodes talk to each other: signs of life, announcements and questions to
// all, over core NATS. Nothing of it is stored, and nothing promised but that a
// disturbance is told.
//
// The streams of events, the leases of those who deliver them to webhooks and what
// nodes tell each other of subscribers are here as well (Events); who delivers, and how,
// is package webhook.
//
// Goroutines, all ended by Close: one reader of the live feed (Start), two of the control
// bus (Control.Start), one for each group that connections of this node are members of,
// one keeper that heals what changed under the node (connections, deleted streams, epochs,
// free disk), one that looks for expired durable sessions (Sessions.Serve; on a remote
// server also some that give sessions up to other nodes), one that reads API keys and
// revocations (Trust.Start), one timer that stores scheduled messages when they are due,
// one sender per stream that gathers atomic batches where every write is synced, and those of the
// NATS client and server. Methods may be called concurrently.
package broker
