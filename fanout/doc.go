// Package fanout is the core: channel names, messages, positions, and the cursors
// that bring every subscriber each message of its channel from its position on,
// once and in order.
//
// It owns the Hub. The hub follows each channel that has subscribers once per node
// (a liveSource: order check, repair from the log, replay ring), and moves a cursor
// per subscription, live or catching up. Sockets, NATS and HTTP are elsewhere,
// behind Sink, Log, Feed and Epochs.
//
// A subscription may leave messages out: by a Filter, and by Conflation, for which a
// source keeps a view, its log without what is outdated. Both only decide what a cursor
// hands over on its way; positions, gaps and reads are those of every cursor.
//
// Promised: no message is missed or repeated between a subscription's position and
// where it stands, or the client is told of a gap; a client that takes nothing costs
// its cursor and nothing else; Dispatch never blocks on a client. A pattern on the
// feed of a NATS cluster is the exception to "repeated": after a lost live message
// or a resume, messages may come twice, told apart by their offsets.
//
// Not promised: an order between channels; the time of a delivery.
//
// Presence keeps who is subscribed to a channel, in the memory of each node, and asks
// the others over a Bus.
//
// Goroutines: one per shard (it alone touches the shard's cursors), one that sweeps,
// one that tells of presence, and, while there is work, those that open, repair and read
// sources or ask other nodes. Hub.Stop waits
// for all of them.
package fanout
