package fanout

import (
	"sort"
	"sync/atomic"
)

// ring holds the newest messages of one source, complete from base on: every
// message of the source after base and up to the newest is in it. Guarded by its
// source's lock.
type ring struct {
	base   Position
	buf    []kept // circular, len is a power of two
	head   int    // index of the oldest
	count  int
	bytes  int64
	limit  int           // messages
	most   int64         // bytes
	budget *atomic.Int64 // bytes left for all rings of the node; may dip below zero by one message each
}

// kept is a message of a ring and what it counts there.
type kept struct {
	m    *Message
	size int64
}

// reset empties the ring; it is then complete from base.
func (r *ring) reset(base Position) {
	r.budget.Add(r.bytes)
	r.buf, r.head, r.count, r.bytes = nil, 0, 0, 0
	r.base = base
}

// push appends the newest message. The buffer grows by doubling, so a channel
// with a single message pays for one slot. The one before it, which live clients
// have now, is counted with the frames that they needed; what is encoded later, for
// a client that returns with another codec, is not.
func (r *ring) push(m *Message) {
	if r.limit == 0 {
		r.raise(m.Position)
		return
	}
	r.recount()
	if r.count >= r.limit {
		r.dropOldest()
	} else if r.count == len(r.buf) {
		r.grow()
	}
	size := int64(m.Size())
	r.buf[(r.head+r.count)&(len(r.buf)-1)] = kept{m, size}
	r.count++
	r.bytes += size
	left := r.budget.Add(-size)
	for r.count > 0 && (r.bytes > r.most || left < 0) {
		left = r.dropOldest()
	}
}

// recount counts the newest message anew.
func (r *ring) recount() {
	if r.count == 0 {
		return
	}
	newest := &r.buf[(r.head+r.count-1)&(len(r.buf)-1)]
	size := int64(newest.m.Size())
	r.bytes += size - newest.size
	r.budget.Add(newest.size - size)
	newest.size = size
}

// raise moves base forward only: after a loss it lies ahead of the oldest message.
func (r *ring) raise(to Position) {
	if to.Offset > r.base.Offset {
		r.base = to
	}
}

// purge takes out what the marker, just pushed, emptied: nobody gets it any more.
// A channel's ring begins anew behind the marker.
func (r *ring) purge(marker *Message, pattern bool) {
	if !pattern {
		r.reset(marker.Position)
		return
	}
	r.keep(func(m *Message) bool { return m == marker || m.Channel != marker.Channel })
}

// drop takes out what the marker, just pushed, deleted: a message and its versions.
// They are gone from the log, too, so the ring stays as complete as it is.
func (r *ring) drop(marker *Message) {
	r.keep(func(m *Message) bool {
		return m.Channel != marker.Channel || m.Kind != KindData || m.Offset() != marker.Target && m.Updates != marker.Target
	})
}

// keep takes out what is not good.
func (r *ring) keep(good func(*Message) bool) {
	all := make([]*Message, 0, r.count)
	for i := range r.count {
		all = append(all, r.at(i))
	}
	base := r.base
	r.reset(base)
	for _, m := range all {
		if good(m) {
			r.push(m)
		}
	}
}

func (r *ring) grow() {
	next := make([]kept, max(1, 2*len(r.buf)))
	for i := range r.count {
		next[i] = r.buf[(r.head+i)&(len(r.buf)-1)]
	}
	r.buf, r.head = next, 0
}

func (r *ring) at(i int) *Message { return r.buf[(r.head+i)&(len(r.buf)-1)].m }

// dropOldest moves base over the oldest message and returns the budget left.
func (r *ring) dropOldest() int64 {
	oldest := r.buf[r.head]
	r.buf[r.head] = kept{}
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.count--
	r.bytes -= oldest.size
	r.raise(oldest.m.Position)
	return r.budget.Add(oldest.size)
}

// after returns up to limit messages after x. ok is false where the ring cannot
// tell: x lies before base or after the newest message, or belongs to another log.
func (r *ring) after(x Position, limit int) (msgs []*Message, more, ok bool) {
	i, ok := r.find(x)
	if !ok {
		return nil, false, false
	}
	n := min(limit, r.count-i)
	msgs = make([]*Message, n)
	for j := range n {
		msgs[j] = r.at(i + j)
	}
	return msgs, i+n < r.count, true
}

// find returns the index of the first message after x, if x is base, a message of
// the ring, or provably between two neighbours of the same epoch.
func (r *ring) find(x Position) (int, bool) {
	if x == r.base {
		return 0, true
	}
	if x.Offset <= r.base.Offset {
		return 0, false
	}
	i := sort.Search(r.count, func(i int) bool { return r.at(i).Offset() > x.Offset })
	if i == 0 {
		return 0, r.count > 0 && between(r.base, x, r.at(0).Position)
	}
	prev := r.at(i - 1).Position
	if prev.Offset == x.Offset {
		return i, prev.Time == x.Time && prev.Stream.SameStream(x.Stream)
	}
	if i == r.count {
		return 0, false
	}
	return i, between(prev, x, r.at(i).Position)
}

func between(a, x, b Position) bool {
	return x.Stream == a.Stream && x.Stream == b.Stream && a.Time <= x.Time && x.Time <= b.Time
}

// beforeLast returns the position before the newest n messages, if the ring knows it.
func (r *ring) beforeLast(n int) (Position, bool) {
	switch {
	case r.count > n:
		return r.at(r.count - n - 1).Position, true
	case r.count == n && r.base.Stream != anyTag():
		return r.base, true
	}
	return Position{}, false
}
