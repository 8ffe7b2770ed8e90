package fanout

import "github.com/rivulet-rt/rivulet/protocol"

// Evidence is what the log shows about a position X after a read that started
// there. The broker gathers it, from the leader; Complete judges it. The fields
// after Matches are left out only where StoredTime is X.Time and Matches is true.
type Evidence struct {
	Tag StreamTag // of the stream, now

	StoredTime int64 // of the message stored at X.Offset; 0 if none is
	Matches    bool  // the source is one channel and that message is of it

	FirstSeq uint64 // of the stream; LastSeq+1 if it is empty
	LastSeq  uint64
	// FirstSince is the first stored sequence whose time is not before X.Time; 0 if none.
	FirstSince uint64
	// Limit of messages per channel that the namespace promised to keep at any time
	// since x; 0 is unlimited.
	Limit uint64
	// Singly says that messages may have left the stream one by one, by their own TTL
	// or deleted: then a channel with fewer messages than Limit may have overflowed
	// before.
	Singly bool
	// Gone, with Singly, is how many of the sequences after X, up to LastSeq, hold no
	// message any more, or a number above that.
	Gone uint64
	// Channels of the source: for a channel, itself; for a pattern, those of which
	// Dropped may be true. One without messages stands for all channels of a pattern
	// of which nothing is stored.
	Channels []ChannelFacts
	// Begin is the position before the oldest stored message of the source, or the
	// stream's end if there is none: where delivery goes on if history is gone.
	Begin Position
}

// ChannelFacts are about one channel of a source.
type ChannelFacts struct {
	Count uint64 // stored messages, markers included; 0 only where none is
	First uint64 // offset of the oldest; 0 if there is none
	Purge uint64 // offset of the oldest if it is a purge marker; 0 otherwise
}

// Complete decides whether a reader at x that got everything stored after x has
// missed nothing. It is the only place that decides: for a resume, for every
// batch of a catch-up and for every repair of the live feed. The reason is one
// of protocol.Reason… and empty if complete.
//
//  1. The source is one channel and x, its message, is still stored with the same
//     time: the log is the same log and evicts a channel's oldest first, so nothing
//     after x is gone.
//  2. Otherwise, the log must be the same (equal epoch, or another channel's
//     message at x with x's time), must not have lost its front past x nor its end
//     before x, must not have stored under an old sequence something newer than x,
//     and no channel of the source may have dropped messages after x for its own
//     limit or a purge.
//
// What was deleted by itself or outlived its own TTL is not missing; but neither may
// it hide that something else is.
func Complete(x Position, ev Evidence) (ok bool, reason string) {
	if !x.Stream.SameStream(ev.Tag) {
		return false, protocol.ReasonLogChanged
	}
	stored := ev.StoredTime != 0
	if stored && ev.StoredTime != x.Time {
		return false, protocol.ReasonLogChanged
	}
	if stored && ev.Matches {
		return true, ""
	}
	switch {
	case !stored && x.Stream != ev.Tag,
		ev.LastSeq < x.Offset,
		ev.FirstSince != 0 && ev.FirstSince < x.Offset:
		return false, protocol.ReasonLogChanged
	}
	// Before the front: a purge may have taken that along, and says more.
	for _, c := range ev.Channels {
		if c.Purge > x.Offset {
			return false, protocol.ReasonPurged
		}
	}
	if ev.FirstSeq > x.Offset+1 {
		return false, protocol.ReasonRetention
	}
	for _, c := range ev.Channels {
		if ev.dropped(x, c) {
			return false, protocol.ReasonRetention
		}
	}
	return true, ""
}

// dropped reports whether a channel may have dropped messages after x for its own
// limit, which takes the oldest: as long as one at or before the first sequence after
// x is stored, none after x was taken. A channel holds up to one message more than
// promised, so Count > Limit is proof of an overflow and Count == Limit is not.
//
// Where messages also leave singly, Count may have fallen since. But to drop one
// after x, a channel must have been given Limit+2 after x; it can have been given no
// more than it still has and all that is gone from after x together.
func (ev *Evidence) dropped(x Position, c ChannelFacts) bool {
	if ev.Limit == 0 || c.Count > 0 && c.First <= x.Offset+1 {
		return false
	}
	return c.Count > ev.Limit || ev.Singly && ev.Gone+c.Count > ev.Limit+1
}

// lostUntil is the offset up to which a pattern's channels dropped messages after
// x for their own limit; 0 if none did.
func lostUntil(x Position, ev Evidence) uint64 {
	var until uint64
	for _, c := range ev.Channels {
		switch {
		case !ev.dropped(x, c):
		case c.Count == 0:
			until = max(until, ev.LastSeq)
		default:
			until = max(until, c.First-1)
		}
	}
	return until
}
