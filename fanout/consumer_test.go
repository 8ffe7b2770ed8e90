package fanout_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
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

func newConsumer(t testing.TB, l *memLog, name, channel string, inexact bool) *consumer {
	t.Helper()
	c := &consumer{
		name: name, log: l, channel: mustChannel(t, channel),
		positions: make(map[fanout.StreamID]fanout.Position), from: make(map[fanout.StreamID]place), seen: make(map[fanout.Channel]place),
		excused: make(map[fanout.StreamID]uint64), emptied: make(map[fanout.Channel]uint64),
		owed: make(map[fanout.Channel]bool),
	}
	c.parts, _ = l.Locate(t.Context(), c.channel)
	c.loose = c.channel.IsPattern() && inexact
	return c
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
	if resumed && n.Reason == protocol.ReasonLogChanged && !slices.ContainsFunc(c.parts, c.changed) {
		c.fail("told that a log changed, but none did")
	}
	for _, p := range n.Positions {
		id := c.streamOf(p)
		old, had := c.from[id]
		asked := c.positions[id]
		if !resumed || !n.Recovered || !had {
			if resumed && !n.Recovered && had && p != asked {
				c.checkGone(id, c.resumedFrom(id), protocol.ReasonLogChanged) // the one told may be another stream's
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

// resumedFrom is the place in a stream that a subscription is judged by. With what a loose
// pattern is handed live its client goes back to where the node's feed is proven, which
// may lie before where this connection began, and has been told to.
func (c *consumer) resumedFrom(id fanout.StreamID) place {
	if c.loose {
		return place{c.positions[id].Offset, c.positions[id].Time}
	}
	return c.placeIn(id)
}

// changed reports whether a stream was ever rolled back or made anew.
func (c *consumer) changed(id fanout.StreamID) bool {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return len(c.log.streams[id].changes) > 1
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
