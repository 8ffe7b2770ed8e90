// Package webhook tells other services of what happens in channels, by HTTP.
//
// It is a part of package broker: what it delivers lies in the log, and who delivers is
// decided by leases there. It has a package of its own because it knows HTTP, and of
// NATS nothing: the log, the leases and what nodes tell each other are interfaces,
// which package broker implements.
//
// # How an event goes
//
// Events other than published messages are written to a stream of events, which has a
// fixed number of partitions, by whoever learns of them. Published messages are not
// written a second time: they are read from the streams of their channels, so that
// publishing knows nothing of webhooks. Each (webhook, stream) is a lane: a durable
// place in the stream, read in order, in batches, with one request under way. A batch
// that fails is sent again, with growing pauses, until its events are too old, or one of
// them alone was refused for good; then it goes to a channel of dead letters. A place is moved only when a batch is done.
//
// It promises: each event that was stored is sent at least once, until it was taken or
// is a dead letter, always with the same ID; the events of a channel are sent in order,
// and so are its messages, each with one request at a time; a webhook that is slow or
// down holds up no other. It does not promise an order between a channel's events and
// its messages, nor anything of what the log discarded because it was too much or too
// old, which is counted.
//
// # Who is subscribed
//
// Every node tells the holder of a channel's partition what changes in its own part of
// the channel. The holder alone decides that a channel became occupied or vacated, or
// that a member came or went, and records it before it writes the event, so that the
// next holder goes on where it stopped. See relay and ledger.
//
// Goroutines, all ended by Stop: one for each lease, one for each lane of a lease that
// this node holds, one for each partition that sends what changed on this node.
package webhook
