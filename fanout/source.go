package fanout

import (
	"sync"
	"time"
)

// feedState is how a liveSource stands to the live feed.
type feedState uint8

const (
	feedOpening   feedState = iota // interest is being declared, the tail read
	feedLive                       // messages go straight to the shards
	feedRepairing                  // the log is read first; live messages wait in pending
	feedFailed                     // opening failed; the source is out of the hub's map
)

// maxPending bounds the live messages that wait for a repair; past it they are
// dropped here and read from the log.
const maxPending = 256

// liveSource is a source with subscribers on this node: the order check of its
// live feed, its ring, and which shards want it. It is itself a cursor over the
// log, one per node: a hole in the feed is read once, whoever subscribes.
type liveSource struct {
	// Static after construction.
	key    Source
	hub    *Hub
	turn   uint8         // of quietRounds, in which it is looked at although it is quiet
	opened chan struct{} // closed when opening ended; then err is set

	// Guarded by hub.mu.
	refs      int       // cursors, and subscribes on their way
	idleSince time.Time // set while refs is 0

	mu sync.Mutex // guards the following
	// state moves opening -> live <-> repairing, or opening -> failed.
	state feedState
	err   error // why opening failed
	// last: everything of the source up to here was handed to the shards.
	last Position
	// floor and recent are used by patterns on an inexact feed, whose messages may
	// come in another order than the log's: everything up to floor was handed over,
	// and of each channel in recent everything up to its offset.
	floor     Position
	recent    map[Channel]uint64
	ring      ring
	views     [views]*view // by what they conflate; nil where nobody wants it
	pending   []*Message
	settled   int           // so many of pending were there when the repair's read began
	again     bool          // a read that begins from now on is needed: pending overflowed, or the source is suspect
	wanted    []bool        // by shard
	seq       uint64        // of what was offered to the shards
	retention time.Duration // as the last tail told
	looked    time.Time     // when the log last had nothing fresher
	checked   bool          // the tail was read once more after opening
	checkedTo uint64        // where last stood when the tail was last to be compared
	openedAt  time.Time
	proofs    *proofs // of a loose pattern, else nil
}

// loose reports whether the source may be dispatched out of the log's order.
func (s *liveSource) loose() bool { return s.key.Filter.IsPattern() && !s.hub.exact }

// offer takes a message from the live feed.
func (s *liveSource) offer(m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case feedLive:
		switch s.orderLocked(m) {
		case orderNext:
			s.acceptLocked(m, false)
		case orderHole, orderChanged:
			s.keepLocked(m)
			s.repairLocked()
		case orderSeen:
		}
	case feedOpening, feedRepairing:
		s.keepLocked(m)
	case feedFailed:
	}
}

func (s *liveSource) keepLocked(m *Message) {
	if len(s.pending) >= maxPending {
		s.again = true
		return
	}
	s.pending = append(s.pending, m)
}

type order uint8

const (
	orderNext    order = iota // nothing is missing before it
	orderSeen                 // a repetition
	orderHole                 // something before it is missing
	orderChanged              // it looks like a repetition but was stored later
)

// orderLocked compares m with what was handed over. An offset that is not above the
// last, but stored later, cannot be a repetition: the log was changed under us.
func (s *liveSource) orderLocked(m *Message) order {
	base := s.last
	if s.loose() {
		base = s.floor
		if at := s.recent[m.Channel]; at > base.Offset {
			base.Offset = at
		}
	}
	switch {
	case m.Offset() <= base.Offset && m.Position.Time > s.last.Time:
		return orderChanged
	case m.Offset() <= base.Offset:
		return orderSeen
	case m.Prev <= base.Offset:
		return orderNext
	}
	return orderHole
}

// acceptLocked hands m to the shards. proven says that it was read from the log,
// completely up to it.
func (s *liveSource) acceptLocked(m *Message, proven bool) {
	before := s.last
	late := m.Offset() <= before.Offset
	if late {
		before = s.floor
	} else {
		s.last = m.Position
	}
	out := m
	if s.loose() {
		if s.recent == nil {
			s.recent = make(map[Channel]uint64)
		}
		s.recent[m.Channel] = m.Offset()
		if proven {
			s.floor = m.Position
		}
		out = m.at(s.floor)
	} else {
		s.ring.push(m)
		switch m.Kind {
		case KindPurge:
			s.ring.purge(m, s.key.Filter.IsPattern())
		case KindDeleted:
			s.ring.drop(m)
		case KindData:
		}
	}
	if m.Kind != KindData {
		s.hub.reader.forget(s.key)
	}
	if s.views != ([views]*view{}) {
		s.pushViewsLocked(out)
	}
	s.offerShardsLocked(item{kind: itemMessage, src: s, m: out, from: before, offset: m.Position, late: late})
}

// at returns a copy of m that resumes from p. A loose pattern's client that comes
// back there gets again what followed the hole, and tells it by the offset.
func (m *Message) at(p Position) *Message {
	return &Message{
		Channel: m.Channel, Stream: m.Stream, Position: m.Position, Resume: p, Prev: m.Prev, Kind: m.Kind,
		Target: m.Target, Binary: m.Binary, ID: m.ID, User: m.User, Client: m.Client, Headers: m.Headers, Data: m.Data,
		ConflationKey: m.ConflationKey, Updates: m.Updates, Exclude: m.Exclude, Expires: m.Expires,
	}
}

func (s *liveSource) offerShardsLocked(it item) {
	s.seq++
	it.seq = s.seq
	if s.proofs != nil && (it.late || it.kind == itemGap) {
		s.proofs.asides++
	}
	for i, w := range s.wanted {
		if w {
			s.hub.shards[i].offer(it)
		}
	}
}

// gapLocked restarts the source at begin: what lay between from and there is gone.
func (s *liveSource) gapLocked(from, begin Position, reason string) {
	base := s.baseLocked()
	s.last, s.floor, s.recent = begin, begin, nil
	// What waited when the read began is in the log, or belongs to a log that is gone.
	s.pending, s.settled = s.pending[min(s.settled, len(s.pending)):], 0
	s.ring.reset(begin)
	s.resetViewsLocked(begin)
	s.hub.reader.forget(s.key)
	s.hub.metrics.gaps.WithLabelValues(reason).Inc()
	s.offerShardsLocked(item{kind: itemGap, src: s, from: from, offset: begin, gap: &gap{reason, base}})
}

// freshen moves a quiet source from where it was proven to stand to fresh, where
// the log, asked at the given time, proved that nothing lies between.
func (s *liveSource) freshen(from, fresh Position, asked time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != feedLive || s.last != from || s.loose() && len(s.recent) > 0 {
		return
	}
	if fresh.Offset <= from.Offset {
		s.looked = asked
		return
	}
	s.last, s.floor = fresh, fresh
	s.offerShardsLocked(item{kind: itemFresh, src: s, from: from, offset: fresh})
}

// stale reports whether the source's position has grown so old that a client which
// leaves with it might come back to a log that no longer proves it.
func (s *liveSource) stale(now time.Time) bool {
	left, ages := s.youngFor(now)
	return ages && left <= 0
}

// youngFor is how long it takes until the source's position is stale: a quarter of
// the retention after it was stored, or after the log had nothing fresher. ages is
// false where there is nothing to do about it.
func (s *liveSource) youngFor(now time.Time) (left time.Duration, ages bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != feedLive || s.retention <= 0 {
		return 0, false
	}
	since := time.Unix(0, s.baseLocked().Time)
	if s.looked.After(since) {
		since = s.looked
	}
	return s.retention/4 - now.Sub(since), true
}

// replay answers a catching-up cursor from the ring. upTo is the end of the source
// at that moment.
func (s *liveSource) replay(x Position, limit int) (msgs []*Message, more, ok bool, upTo Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loose() {
		return nil, false, false, s.floor
	}
	if x == s.last {
		return nil, false, true, s.last
	}
	msgs, more, ok = s.ring.after(x, limit)
	return msgs, more, ok, s.last
}
