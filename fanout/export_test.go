package fanout

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// Dump describes the state of the hub's sources and cursors, for a test's failure.
func (h *Hub) Dump() string {
	var b strings.Builder
	for _, s := range h.sources() {
		s.mu.Lock()
		fmt.Fprintf(&b, "source %s of %s: state %d last %v floor %v pending %d again %v ring %d from %v wanted %v\n",
			s.key.Filter, s.key.Stream, s.state, s.last, s.floor, len(s.pending), s.again, s.ring.count, s.ring.base, s.wanted)
		s.mu.Unlock()
	}
	for _, sh := range h.shards {
		done := make(chan struct{})
		sh.post(func() {
			for _, ss := range sh.sources {
				fmt.Fprintf(&b, "shard %d %s of %s: pos %v\n", sh.index, ss.src.key.Filter, ss.src.key.Stream, ss.pos)
				for _, c := range ss.cursors {
					fmt.Fprintf(&b, "  cursor state %d pos %v start %d begun %v reading %v distrust %v owed %q announced %v blocked %v behind %+v\n",
						c.state, c.pos, c.start, c.begun, c.reading, c.distrust, c.owed, c.sub.announced, c.sub.client.blocked, c.behind)
				}
			}
			close(done)
		})
		<-done
	}
	return b.String()
}

// PatternSet is a patternSet for its test.
type PatternSet struct{ s patternSet }

// Add puts in p, which is not in it.
func (s *PatternSet) Add(p Channel) { s.s.add(p) }

// Remove takes out p, which is in it.
func (s *PatternSet) Remove(p Channel) { s.s.remove(p) }

// Matching lists the patterns that match c.
func (s *PatternSet) Matching(c Channel) (out []string) {
	s.s.each(c, func(p Channel) { out = append(out, p.String()) })
	return out
}

// Empty reports whether it holds no pattern and no node.
func (s *PatternSet) Empty() bool { return s.s.size == 0 && s.s.root.empty() }

// Ring is a ring for its test.
type Ring struct{ r ring }

// NewRing returns a ring with bounds; it is to be reset before use.
func NewRing(limit int, most int64, budget *atomic.Int64) *Ring {
	return &Ring{r: ring{limit: limit, most: most, budget: budget}}
}

// Push appends m.
func (r *Ring) Push(m *Message) { r.r.push(m) }

// Purge takes out what marker emptied.
func (r *Ring) Purge(marker *Message, pattern bool) { r.r.purge(marker, pattern) }

// Drop takes out what marker deleted.
func (r *Ring) Drop(marker *Message) { r.r.drop(marker) }

// Reset empties the ring.
func (r *Ring) Reset(base Position) { r.r.reset(base) }

// After returns what follows x.
func (r *Ring) After(x Position, limit int) ([]*Message, bool, bool) { return r.r.after(x, limit) }

// BeforeLast returns the position before the newest n.
func (r *Ring) BeforeLast(n int) (Position, bool) { return r.r.beforeLast(n) }

// Base is where the ring is complete from.
func (r *Ring) Base() Position { return r.r.base }

// Count is the number of messages held.
func (r *Ring) Count() int { return r.r.count }

// Bytes are what the messages held count against the budget.
func (r *Ring) Bytes() int64 { return r.r.bytes }

// NowhereAt is an offset of no stream.
func NowhereAt(offset uint64) Position { return Position{Stream: anyTag(), Offset: offset} }

// View is a view for its test.
type View struct{ v *view }

// NewView returns a view with bounds, complete from base.
func NewView(by ConflateBy, base Position, limit int, most int64, budget *atomic.Int64) *View {
	return &View{&view{by: by, front: base, base: base, newest: make(map[viewKey]uint64), limit: limit, most: most, budget: budget}}
}

// Take puts in m.
func (v *View) Take(m *Message, pattern bool) { v.v.take(m, pattern) }

// After returns what follows x, if the view can tell.
func (v *View) After(x Position, limit int) (msgs []*Message, more, ok bool) {
	i, ok := v.v.find(x)
	if !ok {
		return nil, false, false
	}
	msgs, more = v.v.after(i, limit)
	return msgs, more, true
}

// Base is where it is complete from.
func (v *View) Base() Position { return v.v.base }

// Slots is how many there are, the empty ones included.
func (v *View) Slots() int { return len(v.v.slots) }

// Bytes are what the messages held count against the budget.
func (v *View) Bytes() int64 { return v.v.bytes }

// Views is how many views the hub's sources have.
func (h *Hub) Views() int64 { return h.views.Load() }

// OccupiedSlice bounds what EachOccupied hands over at once.
const OccupiedSlice = occupiedSlice

// EachOccupied hands over the names of the channels that have subscribers.
func (h *Hub) EachOccupied(f func(names []string)) {
	h.eachOccupied("", "", func(some []Occupancy) {
		var names []string
		for _, o := range some {
			names = append(names, o.Channel)
		}
		f(names)
	})
}

// Occupy counts a subscriber of each channel, which has no source behind it.
func (h *Hub) Occupy(channels ...Channel) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range channels {
		h.channels[c] = &liveSource{key: Source{Filter: c}, hub: h, refs: 1}
	}
}

// Vacate takes away all channels.
func (h *Hub) Vacate() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.channels)
}
