package session

import "time"

// watch is what Outbound.Check saw last. Owned by Check's caller.
type watch struct {
	written uint64
	acked   int64 // most that was seen
	moved   int64 // when anything last moved while something waited, Unix nanoseconds; 0 before the first look
	unacked int32
}

// Progress is what Outbound.Check found.
type Progress struct {
	// Stalled is how long something has waited without anything moving.
	Stalled time.Duration
	// Alive says that since the last Check the peer took some of what was sent.
	Alive bool
	// Acknowledged says that since the last Check the peer's kernel has acknowledged
	// bytes, and Owed that it has bytes to acknowledge; both are false where the wire
	// does not know.
	Acknowledged, Owed bool
}

// unacker is a wire that knows how many bytes its peer has not acknowledged.
type unacker interface{ Unacked() int }

// Check looks at what has moved since the last call. It must be called by one
// goroutine at a time, every few seconds.
//
// While something waits here because the wire takes no more, the kernel's buffer is
// full, so any change of the bytes it took or of those that are not acknowledged is
// the peer's doing. (Of a wire whose writes wait that is known only to within a
// buffer.) Otherwise, a growing number of acknowledged bytes is, whereas bytes
// that only went into the kernel prove nothing about the peer.
//
// A peer's kernel tells of room in steps, usually a sixteenth of its receive
// buffer: a client with a buffer of 64 KiB shows that it reads every 4 KiB, one
// whose buffer has grown to megabytes far more rarely.
func (o *Outbound) Check(now time.Time) Progress {
	o.mu.Lock()
	waiting, written, wire := o.bytes > 0 && (o.blocked || o.flushing), o.written, o.wire
	o.mu.Unlock()
	var unacked int32
	u, knows := wire.(unacker)
	if knows {
		unacked = int32(u.Unacked())
	}
	w := &o.watch
	begun := w.moved != 0
	acked := int64(written) - int64(unacked)
	moved := !begun || written != w.written || unacked != w.unacked
	p := Progress{Alive: begun && (waiting && moved || !waiting && acked > w.acked && unacked > 0)}
	p.Acknowledged, p.Owed = knows && acked > w.acked, unacked > 0
	w.written, w.unacked = written, unacked
	w.acked = max(w.acked, acked)
	if moved || !waiting {
		w.moved = now.UnixNano()
	}
	p.Stalled = now.Sub(time.Unix(0, w.moved))
	return p
}
