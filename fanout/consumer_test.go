package fanout_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// event is what a sink was given: a message or a notice.
type event struct {
	m *fanout.Message
	n fanout.Notice
}

// boundedSink takes room messages and then none until it is drained.
type boundedSink struct {
	room int

	mu      sync.Mutex // guards the following
	events  []event
	refused bool
	count   int
}

// Deliver implements fanout.Sink.
func (s *boundedSink) Deliver(m *fanout.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= s.room {
		s.refused = true
		return false
	}
	s.count++
	s.events = append(s.events, event{m: m})
	return true
}

// Notify implements fanout.Sink.
func (s *boundedSink) Notify(n fanout.Notice) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= s.room+8 {
		s.refused = true
		return false
	}
	s.count++
	s.events = append(s.events, event{n: n})
	return true
}

// has reports whether a notice waits to be drained.
func (s *boundedSink) has(notice string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.events, func(e event) bool { return e.m == nil && words(e.n) == notice })
}

func (s *boundedSink) drain() (events []event, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, refused = s.events, s.refused
	s.events, s.refused, s.count = nil, false, 0
	return events, refused
}

// place is where a consumer stands in one channel.
type place struct {
	offset uint64
	time   int64
}

// consumer is a client as PROTOCOL.md wants it: it keeps its position, comes back
// with it, and holds the hub to promise 2.
type consumer struct {
	name    string
	log     *memLog
	channel fanout.Channel
	loose   bool // a pattern on an inexact feed: repetitions are dropped by offset
	parts   []fanout.StreamID
	by      fanout.Conflation
	filter  *fanout.Filter

	sink   *boundedSink
	client *fanout.Client
	// The latest position of each stream, as the client would keep it.
	positions map[fanout.StreamID]fanout.Position
	// Since the last subscribed, gap or recovered:false.
	from map[fanout.StreamID]place
	seen map[fanout.Channel]place
	// A pattern that was told of a gap may miss what its channels' limits evicted up to here.
	excused map[fanout.StreamID]uint64
	emptied map[fanout.Channel]uint64 // a pattern's channels that it was told were purged
	// Of a pattern, the log may be read after a purge and a batch kept from before it
	// then: what the purge took is missing before a message that it took as well. The
	// marker, which comes later, must tell.
	owed     map[fanout.Channel]bool
	started  bool // subscribed was seen on this connection
	ever     bool // it has had a position once
	asked    fanout.Start
	gapped   int
	got      int
	deleted  int // messages of which it was told
	problems []string
	history  []string
}

func (c *consumer) fail(format string, args ...any) {
	last := c.history[max(0, len(c.history)-12):]
	c.problems = append(c.problems, fmt.Sprintf("%s (%s): %s\n    after %s", c.name, c.channel,
		fmt.Sprintf(format, args...), strings.Join(last, "\n          ")))
}

func (c *consumer) note(format string, args ...any) {
	c.history = append(c.history, fmt.Sprintf(format, args...))
}

// connect opens a connection to a node and subscribes from where it stands.
func (c *consumer) connect(h *fanout.Hub, room int, first fanout.Start) {
	c.sink = &boundedSink{room: room}
	c.client = h.NewClient(c.sink)
	c.subscribe(first)
}

func (c *consumer) subscribe(first fanout.Start) {
	c.note("subscribe")
	c.started = false
	c.asked = first
	if c.ever {
		c.asked = fanout.Start{}
		for _, p := range c.positions {
			c.asked.Positions = append(c.asked.Positions, p)
		}
	}
	if err := c.client.Subscribe(fanout.SubscribeRequest{Token: 1, Channel: c.channel, Start: c.asked, Conflate: c.by, Filter: c.filter}); err != nil {
		c.fail("subscribe: %v", err)
	}
}

// drain takes what the sink has, checks it, and lets it be filled again.
func (c *consumer) drain() {
	if c.client == nil {
		return
	}
	events, refused := c.sink.drain()
	for _, e := range events {
		if e.m != nil {
			c.note("message %s %s@%d of %s", e.m.Data, e.m.Channel, e.m.Offset(), e.m.Stream)
			c.message(e.m)
		} else {
			c.note("notice %d %v recovered %v %s %v", e.n.Kind, e.n.Positions, e.n.Recovered, e.n.Reason, e.n.Err)
			c.notice(e.n)
		}
	}
	if refused {
		c.client.Drained()
	}
}

func (c *consumer) cut() {
	c.note("cut")
	if c.client != nil {
		c.client.Close()
	}
	c.client = nil
}

func (c *consumer) streamOf(p fanout.Position) fanout.StreamID {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	for id, s := range c.log.streams {
		if s.tag.SameStream(p.Stream) {
			return id
		}
	}
	return ""
}

func (c *consumer) notice(n fanout.Notice) {
	switch n.Kind {
	case fanout.NoticeSubscribed:
		c.subscribed(n)
	case fanout.NoticeFailed:
		// The log was away: ask again, as a client would.
		c.subscribe(c.asked)
	case fanout.NoticeGap:
		c.gap(n.Positions[0], n.Reason, n.Channel)
	case fanout.NoticeCaughtUp:
		if !c.started {
			c.fail("caught_up before subscribed")
		}
		c.keep(n.Positions)
	case fanout.NoticeChecked:
		c.fail("an answer to what was not asked")
	case fanout.NoticePosition:
		c.checkNothingBefore(n.Positions[0])
		c.keep(n.Positions)
	case fanout.NoticeDeleted:
		if !c.started || !c.loose && n.Target >= n.Positions[0].Offset {
			c.fail("deleted %d at %v, started %v", n.Target, n.Positions[0], c.started)
		}
		c.deleted++
	case fanout.NoticeUnsubscribed, fanout.NoticePresence:
		c.fail("unexpected notice %d", n.Kind)
	}
}

func (c *consumer) keep(positions []fanout.Position) {
	for _, p := range positions {
		c.positions[c.streamOf(p)] = p
	}
	c.ever = true
}

func (c *consumer) subscribed(n fanout.Notice) {
	if c.started {
		c.fail("subscribed twice")
	}
	c.started = true
	resumed := len(c.asked.Positions) > 0
	for _, p := range n.Positions {
		id := c.streamOf(p)
		old, had := c.from[id]
		asked := c.positions[id]
		if !resumed || !n.Recovered || !had {
			if resumed && !n.Recovered && had && p != asked {
				c.checkGone(id, c.placeIn(id), n.Reason)
			}
			c.from[id] = place{p.Offset, p.Time}
			c.forget(id)
			if !resumed || !n.Recovered && c.channel.IsPattern() {
				c.excuse(id) // since and last give what there is
			}
			continue
		}
		if p != asked && !c.loose {
			c.fail("recovered, but delivery starts at %v instead of %v (from %v)", p, asked, old)
		}
	}
	c.keep(n.Positions)
}

// placeIn is the latest place that the consumer has in a stream.
func (c *consumer) placeIn(id fanout.StreamID) place {
	if !c.channel.IsPattern() {
		if p, ok := c.seen[c.channel]; ok {
			return p
		}
	}
	p := c.from[id]
	if at := c.positions[id]; at.Offset > p.offset {
		p = place{at.Offset, at.Time}
	}
	return p
}

func (c *consumer) forget(id fanout.StreamID) {
	for ch := range c.seen {
		if c.log.partition(ch) == id {
			delete(c.seen, ch)
		}
	}
	for ch := range c.owed {
		if c.log.partition(ch) == id {
			delete(c.owed, ch)
		}
	}
}

func (c *consumer) gap(p fanout.Position, reason string, ch fanout.Channel) {
	id := c.streamOf(p)
	if !c.started {
		c.fail("gap before subscribed")
	}
	if ch != c.channel {
		// Of one channel of the pattern.
		delete(c.owed, ch)
		c.checkGone(id, c.placeOf(ch), reason)
		if p.Offset > c.placeOf(ch).offset {
			c.seen[ch] = place{p.Offset, p.Time}
		}
		c.log.mu.Lock()
		c.emptied[ch] = c.log.streams[id].lastSeq
		c.log.mu.Unlock()
	} else {
		c.checkGone(id, c.placeIn(id), reason)
		c.from[id] = place{p.Offset, p.Time}
		c.forget(id)
		if c.channel.IsPattern() {
			c.excuse(id)
		}
	}
	c.gapped++
	c.keep([]fanout.Position{p})
}

func (c *consumer) excuse(id fanout.StreamID) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.excused[id] = c.log.streams[id].lastSeq
}

// checkGone holds "and only then": a gap is told only when history is gone.
func (c *consumer) checkGone(id fanout.StreamID, at place, reason string) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	s := c.log.streams[id]
	counts := make(map[fanout.Channel]uint64)
	// Where so many left singly that a channel may have overflowed nobody can tell.
	unsure := s.singly && s.goneSince(at.offset)+c.log.limit > c.log.limit+1
	gone := unsure || slices.ContainsFunc(s.changes, func(t int64) bool { return t >= at.time })
	// Once the front of the stream has passed the place, nothing can be proven: which
	// is why quiet channels are sent fresh positions.
	gone = gone || c.log.evidenceLocked(fanout.Source{Stream: id, Filter: c.channel}, fanout.Position{}).FirstSeq > at.offset+1
	// What a loose pattern was handed after its floor cannot be told from what was
	// lost there: where the floor is no longer proven, history is said to be gone.
	// Its markers come again from there, like its messages.
	// Where the log ever changed, it may be told that twice: once for itself and once
	// with the node's own source.
	gone = gone || c.loose && (reason != protocol.ReasonLogChanged || len(s.changes) > 1)
	for _, r := range s.records {
		if !c.channel.Matches(r.msg.Channel) || r.life != s.life || r.seq <= at.offset {
			continue
		}
		counts[r.msg.Channel]++
		gone = gone || r.fate != stored || counts[r.msg.Channel] > c.log.limit || r.msg.Kind == fanout.KindPurge
	}
	if !gone {
		c.fail("told that history is gone (%s) after %v, but nothing is", reason, at)
	}
}

func (c *consumer) placeOf(ch fanout.Channel) place {
	if p, ok := c.seen[ch]; ok {
		return p
	}
	return c.from[c.log.partition(ch)]
}

func (c *consumer) message(m *fanout.Message) {
	id := m.Stream
	if !c.started {
		c.fail("message %s before subscribed", m.Data)
	}
	if !c.channel.Matches(m.Channel) {
		c.fail("message of %s", m.Channel)
	}
	at := c.placeOf(m.Channel)
	if m.Offset() <= at.offset {
		if !c.loose {
			c.fail("message %s at %d not after %d: repeated or out of order", m.Data, m.Offset(), at.offset)
		}
		return
	}
	if missing := c.between(id, m.Channel, at, m.Offset(), m.Position.Time); len(missing) > 0 {
		c.fail("hole in %s between %v and %d, asked %+v, got %d: %s", m.Channel, at, m.Offset(), c.asked, c.got, strings.Join(missing, " "))
	}
	if c.filter != nil && !modelPasses(m) {
		c.fail("message %s does not pass the filter", m.Data)
	}
	if len(c.problems) == 1 {
		c.dumpStream(id)
	}
	c.got++
	c.seen[m.Channel] = place{m.Offset(), m.Position.Time}
	c.positions[id] = m.ResumeAt()
}

func (c *consumer) dumpStream(id fanout.StreamID) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	var b strings.Builder
	for _, r := range c.log.streams[id].records {
		if c.channel.Matches(r.msg.Channel) && r.fate != lost {
			fmt.Fprintf(&b, "%s@%d %s kind %d time %d fate %d end %d\n", r.msg.Channel, r.seq, r.msg.Data, r.msg.Kind, r.msg.Position.Time, r.fate, r.end)
		}
	}
	c.problems = append(c.problems, b.String())
}

// checkNothingBefore holds that a fresh position skips nothing.
func (c *consumer) checkNothingBefore(p fanout.Position) {
	id := c.streamOf(p)
	for _, ch := range c.log.channelsOf(id, c.channel) {
		if missing := c.between(id, ch, c.placeOf(ch), p.Offset+1, p.Time); len(missing) > 0 {
			c.fail("position %d of %s skips %s", p.Offset, ch, strings.Join(missing, " "))
		}
	}
}

func (l *memLog) channelsOf(id fanout.StreamID, f fanout.Channel) []fanout.Channel {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := make(map[fanout.Channel]bool)
	var out []fanout.Channel
	for _, r := range l.streamLocked(id).records {
		if f.Matches(r.msg.Channel) && !seen[r.msg.Channel] {
			seen[r.msg.Channel] = true
			out = append(out, r.msg.Channel)
		}
	}
	return out
}

// between lists the messages of ch that lie after at and before an offset, in the
// log as it was at time until.
func (c *consumer) between(id fanout.StreamID, ch fanout.Channel, at place, before uint64, until int64) []string {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	var out []string
	for _, r := range c.log.streams[id].records {
		// What was evicted or purged and came back with an older copy is not asked for.
		if r.msg.Channel != ch || r.msg.Kind != fanout.KindData || r.fate == lost || r.fate == alone || r.back {
			continue
		}
		if r.fate != stored && r.seq <= max(c.excused[id], c.emptied[ch]) {
			continue
		}
		if r.seq > at.offset && r.seq < before && r.msg.Position.Time > at.time && r.msg.Position.Time <= until {
			if !c.wants(r) {
				continue
			}
			if c.channel.IsPattern() && r.fate == purged && c.log.purgeFrom(r.msg.Stream, ch, before) {
				c.owed[ch] = true
				continue
			}
			out = append(out, fmt.Sprintf("%s@%d(fate %d at %d)", r.msg.Data, r.seq, r.fate, r.end))
		}
	}
	return out
}

// purgeFrom reports whether a purge of ch lies at an offset or after it. The caller holds
// the log's lock.
func (l *memLog) purgeFrom(id fanout.StreamID, ch fanout.Channel, offset uint64) bool {
	return slices.ContainsFunc(l.streams[id].records, func(r *record) bool {
		return r.msg.Channel == ch && r.msg.Kind == fanout.KindPurge && r.fate != lost && r.seq >= offset
	})
}

// missing lists what is stored and not yet delivered.
func (c *consumer) missing() []string {
	var out []string
	for _, id := range c.parts {
		for _, ch := range c.log.channelsOf(id, c.channel) {
			at := c.placeOf(ch)
			c.log.mu.Lock()
			for _, r := range c.log.streams[id].records {
				if r.msg.Channel == ch && r.fate == stored && !r.back && r.msg.Kind == fanout.KindData && r.seq > at.offset && c.wants(r) {
					out = append(out, fmt.Sprintf("%s@%d", r.msg.Data, r.seq))
				}
			}
			c.log.mu.Unlock()
		}
	}
	return out
}

// eventually polls: the model test runs in real time.
func eventually(limit time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}
