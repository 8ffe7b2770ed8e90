package fanout

import (
	"slices"
	"sort"
	"sync/atomic"
	"time"
)

// ConflateBy says what outdates a message.
type ConflateBy uint8

// What outdates a message: nothing, a newer one of its channel with its conflation
// key, or a newer one of its channel.
const (
	ConflateNone ConflateBy = iota
	ConflateKey
	ConflateLast
)

// views are how many kinds of views a source can have.
const views = 2

// view is a source's log without what is outdated. It is complete from base on: what it
// holds after any position from there is what a conflated cursor at that position is
// due. What falls off its front is no longer given to those who come later, but is read
// from the log by those who stand before it. Guarded by its source's lock.
type view struct {
	by ConflateBy
	// front is before the oldest: there begins who comes without a position. It lies
	// before base where a pattern's channels have lost messages for their own limits.
	front  Position
	base   Position
	slots  []slot // by offset; what is outdated is empty, and taken out now and then
	held   int    // slots that are not
	newest map[viewKey]uint64
	bytes  int64
	limit  int
	most   int64
	budget *atomic.Int64 // that of the rings

	filled    bool // it was begun with what the log held
	users     int  // cursors
	idleSince time.Time
}

type slot struct {
	at   Position
	m    *Message // nil: outdated
	size int64
}

// viewKey is what a newer message replaces.
type viewKey struct {
	channel Channel
	key     string
}

// purged is the key of a purge's marker: no publisher's has a space.
const purged = " purged"

func (s *liveSource) newView(by ConflateBy, base Position) *view {
	cfg := &s.hub.cfg
	return &view{
		by: by, front: base, base: base, newest: make(map[viewKey]uint64), idleSince: time.Now(),
		limit: cfg.ViewMessages, most: cfg.ViewBytes, budget: s.hub.budget,
	}
}

// keyOf returns what m outdates; ok is false for what outdates nothing.
func (by ConflateBy) keyOf(m *Message) (key viewKey, ok bool) {
	switch {
	case m.Kind == KindPurge:
		return viewKey{m.Channel, purged}, true
	case m.Kind == KindDeleted:
		return viewKey{}, false
	case by == ConflateLast:
		return viewKey{m.Channel, ""}, true
	}
	return viewKey{m.Channel, m.ConflationKey}, m.ConflationKey != ""
}

// take puts in a message or a marker, which then acts on what is there.
func (v *view) take(m *Message, pattern bool) {
	if !v.push(m) {
		return
	}
	switch {
	case m.Kind == KindPurge && !pattern:
		v.reset(m.Position)
	case m.Kind == KindPurge:
		v.remove(func(o *Message) bool { return o != m && o.Channel == m.Channel && o.Offset() < m.Offset() })
	case m.Kind == KindDeleted:
		v.remove(func(o *Message) bool {
			return o.Channel == m.Channel && o.Kind == KindData && (o.Offset() == m.Target || o.Updates == m.Target)
		})
	}
}

// push puts in m, at its place, unless it is there or outdated; what it outdates goes.
func (v *view) push(m *Message) bool {
	i := len(v.slots)
	if i > 0 && m.Offset() <= v.slots[i-1].at.Offset { // a late one
		i = v.search(m.Offset() - 1)
		if v.slots[i].at.Offset == m.Offset() {
			return false
		}
	}
	if m.Offset() <= v.front.Offset {
		return false
	}
	if key, ok := v.by.keyOf(m); ok {
		old, had := v.newest[key]
		if had && old > m.Offset() {
			return false
		}
		if had {
			v.empty(v.search(old - 1))
		}
		v.newest[key] = m.Offset()
	}
	size := int64(m.Size())
	v.slots = slices.Insert(v.slots, i, slot{m.Position, m, size})
	v.held++
	v.bytes += size
	left := v.budget.Add(-size)
	for v.held > 0 && (v.held > v.limit || v.bytes > v.most || left < 0) {
		left = v.dropOldest()
	}
	v.compact()
	return true
}

// search returns the first slot after an offset.
func (v *view) search(after uint64) int {
	return sort.Search(len(v.slots), func(i int) bool { return v.slots[i].at.Offset > after })
}

// empty takes the message out of a slot, and returns the budget left.
func (v *view) empty(i int) int64 {
	s := &v.slots[i]
	v.held--
	v.bytes -= s.size
	left := v.budget.Add(s.size)
	s.m, s.size = nil, 0
	return left
}

// dropOldest moves base over the oldest message and returns the budget left.
func (v *view) dropOldest() int64 {
	i := slices.IndexFunc(v.slots, func(s slot) bool { return s.m != nil })
	m := v.slots[i].m
	if key, ok := v.by.keyOf(m); ok && v.newest[key] == m.Offset() {
		delete(v.newest, key)
	}
	left := v.empty(i)
	v.front = v.slots[i].at
	if v.front.Offset >= v.base.Offset {
		v.base = v.front
	}
	v.slots = v.slots[i+1:]
	return left
}

// remove takes out what is gone from the log.
func (v *view) remove(gone func(*Message) bool) {
	for i := range v.slots {
		m := v.slots[i].m
		if m == nil || !gone(m) {
			continue
		}
		if key, ok := v.by.keyOf(m); ok && v.newest[key] == m.Offset() {
			delete(v.newest, key)
		}
		v.empty(i)
	}
	v.compact()
}

// compact takes out the empty slots where they are more than half.
func (v *view) compact() {
	const spare = 16
	if len(v.slots) > 2*v.held+spare {
		v.slots = slices.DeleteFunc(v.slots, func(s slot) bool { return s.m == nil })
	}
}

// reset empties the view; it is then complete from base.
func (v *view) reset(base Position) {
	v.budget.Add(v.bytes)
	v.front, v.base, v.slots, v.held, v.bytes = base, base, nil, 0, 0
	clear(v.newest)
}

// raise says that the view is not complete up to an offset.
func (v *view) raise(until uint64) {
	if until > v.base.Offset {
		v.base = Position{Stream: anyTag(), Offset: until}
	}
}

// after returns up to limit messages after the i-th slot.
func (v *view) after(i, limit int) (msgs []*Message, more bool) {
	for ; i < len(v.slots); i++ {
		if v.slots[i].m == nil {
			continue
		}
		if len(msgs) == limit {
			return msgs, true
		}
		msgs = append(msgs, v.slots[i].m)
	}
	return msgs, false
}

// find returns the first slot after x, if the view is proven to be complete from x on.
// What lay between two slots and was taken out is outdated by what lies after both, so
// a position between them is proven by its time as in a ring.
func (v *view) find(x Position) (int, bool) {
	if x.Offset <= v.base.Offset {
		return v.search(x.Offset), x == v.base
	}
	i := v.search(x.Offset)
	prev := v.base
	if i > 0 {
		prev = v.slots[i-1].at
	}
	if prev.Offset == x.Offset {
		return i, prev.Time == x.Time && prev.Stream.SameStream(x.Stream)
	}
	return i, i < len(v.slots) && between(prev, x, v.slots[i].at)
}

// outdated tells which of the messages, in the order of the log, others among them
// outdate. What a view has is not asked: it may be of a log that has just changed.
func outdated(by ConflateBy, msgs []*Message) []bool {
	out := make([]bool, len(msgs))
	seen := make(map[viewKey]struct{}, len(msgs))
	for i, m := range slices.Backward(msgs) {
		key, ok := by.keyOf(m)
		if !ok || m.Kind != KindData {
			continue
		}
		_, out[i] = seen[key]
		seen[key] = struct{}{}
	}
	return out
}
