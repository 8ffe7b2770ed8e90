package fanout

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// subscription is a client's subscription to a channel (one cursor) or a pattern
// (one per stream).
type subscription struct {
	// Static after Subscribe.
	client  *Client
	channel Channel
	token   uint64
	start   *Start      // nil: live from now, as most are
	refine  *refinement // nil: all messages come

	// Guarded by client.mu.
	place int                // in client.subs.list
	stop  context.CancelFunc // ends prepare; nil unless that runs

	// Owned by the shard's goroutine.
	one       cursor    // the cursor of a single source, so that it is no memory of its own
	cursors   []*cursor // of a pattern over several streams, else nil
	waiting   int32     // cursors that do not know yet where they begin
	replaying int32     // cursors that have not reached live for the first time
	announced bool      // NoticeSubscribed was taken
	recovered bool      // of all cursors so far
	attached  bool
	ended     bool
	watches   bool   // static: it asked for presence
	reason    string // why recovered is false
}

// each calls f with every cursor, until it returns false.
func (s *subscription) each(f func(*cursor) bool) {
	if s.cursors == nil && s.attached {
		f(&s.one)
		return
	}
	for _, c := range s.cursors {
		if !f(c) {
			return
		}
	}
}

// cancellable makes the context of prepare.
func (s *subscription) cancellable() context.Context {
	ctx, stop := context.WithCancel(s.client.shard.hub.ctx)
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.stop = stop
	if s.client.gone || s.client.subs.get(s.channel) != s { // ended before it began
		s.cancelLocked()
	}
	return ctx
}

// cancel ends prepare, where it runs.
func (s *subscription) cancel() {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.cancelLocked()
}

func (s *subscription) cancelLocked() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

func (s *subscription) cursorOf(id StreamID) *cursor {
	if s.cursors == nil && s.attached && s.one.src.key.Stream == id {
		return &s.one
	}
	for _, c := range s.cursors {
		if c.src.key.Stream == id {
			return c
		}
	}
	return nil
}

// asked is where the client wants it to begin.
func (s *subscription) asked() Start {
	if s.start == nil {
		return Start{}
	}
	return *s.start
}

// startHere tells where a subscription starts whose source needs no reading first.
func (s *subscription) startHere(src *liveSource) (at []Position, ok bool) {
	start := s.asked()
	switch {
	case start.Last > 0:
		src.mu.Lock()
		defer src.mu.Unlock()
		p, ok := src.ring.beforeLast(start.Last)
		return []Position{p}, ok
	case s.snapshots():
		p, ok := src.snapshotHere(s.conflates())
		return []Position{p}, ok && (p.Stream.IsZero() || !src.stale(time.Now()))
	case start.Since != 0:
		return nil, false
	case len(start.Positions) > 0:
		return []Position{s.position(src)}, true
	}
	return nil, !src.loose() && !src.stale(time.Now())
}

// position picks the position given for src's stream; one of no stream if there is
// none, which nothing proves.
func (s *subscription) position(src *liveSource) Position {
	src.mu.Lock()
	tag := src.last.Stream
	src.mu.Unlock()
	for _, p := range s.asked().Positions {
		if p.Stream.SameStream(tag) {
			return p
		}
	}
	return Position{Stream: anyTag()}
}

// prepare does what may block, then attaches the subscription to its shard.
func (s *subscription) prepare(ctx context.Context) {
	defer s.cancel()
	sources, at, err := s.open(ctx)
	if err != nil {
		s.client.shard.post(func() { s.fail(err) })
		return
	}
	s.client.shard.post(func() { s.attach(sources, at) })
}

// open acquires the sources and finds where to start in each. A position without a
// stream is an offset whose position the first read will tell.
func (s *subscription) open(ctx context.Context) (sources []*liveSource, at []Position, err error) {
	h := s.client.shard.hub
	defer func() {
		if err != nil {
			for _, src := range sources {
				h.release(src)
			}
		}
	}()
	ids, err := h.backend.Locate(ctx, s.channel)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		src, err := h.acquire(ctx, Source{Stream: id, Filter: s.channel})
		if err != nil {
			return sources, nil, err
		}
		sources = append(sources, src)
	}
	for _, src := range sources {
		p, ok, err := s.startIn(ctx, src)
		if err != nil {
			return sources, nil, err
		}
		if ok {
			at = append(at, p)
		}
	}
	return sources, at, nil
}

// startIn finds where to start in src; ok is false for live from now.
func (s *subscription) startIn(ctx context.Context, src *liveSource) (p Position, ok bool, err error) {
	h := s.client.shard.hub
	if at, ok := s.startHere(src); ok {
		if len(at) == 0 {
			return Position{}, false, nil
		}
		return at[0], true, nil
	}
	switch {
	case s.snapshots():
		if !src.loose() && src.stale(time.Now()) {
			if err := h.refresh(ctx, src); err != nil {
				return Position{}, false, err
			}
		}
		p, err := h.fill(ctx, src, s.conflates())
		return p, err == nil, err
	case !s.asked().given() && src.loose():
		// The feed stands at no one place of the log: now is the end of the stream.
		t, err := h.backend.Tail(ctx, src.key)
		return t.End, true, err
	case !s.asked().given():
		return Position{}, false, h.refresh(ctx, src)
	}
	start := s.asked()
	seek := Seek{Last: start.Last, Since: start.Since}
	after, err, _ := h.seeks.Do(fmt.Sprintf("%s %s %d %d", src.key.Stream, src.key.Filter, seek.Last, seek.Since), func() (any, error) { //nolint:contextcheck // see below
		// Others share the answer: it does not end with who asked first.
		ctx, cancel := context.WithTimeout(h.ctx, h.cfg.OpenTimeout)
		defer cancel()
		return h.backend.Seek(ctx, src.key, seek)
	})
	if err != nil {
		return Position{}, false, err
	}
	return Position{Offset: after.(uint64)}, true, nil
}

// attach makes the cursors. at has one position per source, or none for live.
func (s *subscription) attach(sources []*liveSource, at []Position) {
	c := s.client
	s.cancel()
	if s.ended || c.closed {
		for _, src := range sources {
			c.shard.hub.release(src)
		}
		s.forget()
		return
	}
	s.attached, s.waiting = true, int32(len(sources))
	if len(sources) != 1 {
		s.cursors = make([]*cursor, 0, len(sources))
	}
	for i, src := range sources {
		cur := &s.one
		if len(sources) != 1 {
			cur = new(cursor)
			s.cursors = append(s.cursors, cur)
		}
		cur.sub, cur.src = s, src
		src.useView(s.conflates(), 1)
		c.shard.source(src).add(cur)
		cur.born = cur.at.pos.Offset
		if src.loose() { // what the view has may have been purged after the floor
			cur.born = min(cur.born, src.floorNow().Offset)
		}
		if len(at) == 0 {
			cur.pos, cur.begun, cur.state = cur.at.pos, true, cursorLive
		} else {
			cur.pos, cur.begun = at[i], !at[i].Stream.IsZero()
			s.replaying++
		}
		cur.start = cur.pos.Offset
	}
	if s.refine != nil {
		s.refine.begin(s)
	}
	c.active = append(c.active, s)
	if s.channel.IsPattern() {
		c.patterns++
	}
	s.each(func(cur *cursor) bool {
		if cur.state == cursorLive {
			s.begins(cur, true, "")
		} else {
			cur.step()
		}
		return !s.ended
	})
}

// begins notes that a cursor knows where it begins; the last one announces the
// subscription.
func (s *subscription) begins(c *cursor, recovered bool, reason string) {
	if !c.ready {
		c.ready = true
		s.waiting--
	}
	if !recovered && s.recovered {
		s.recovered, s.reason = false, reason
	}
	if s.waiting > 0 || s.announced {
		return
	}
	s.announced = s.client.notify(Notice{
		Kind: NoticeSubscribed, Token: s.token, Channel: s.channel, Positions: s.positions(),
		Recovered: s.recovered, Reason: s.reason,
	})
	if s.announced {
		s.takePlace()
		s.client.shard.hub.presence.joins(s)
		s.each(func(o *cursor) bool {
			if o != c {
				s.client.shard.post(o.step)
			}
			return true
		})
	}
}

// positions are where the cursors stand.
func (s *subscription) positions() []Position {
	out := make([]Position, 0, max(1, len(s.cursors)))
	s.each(func(c *cursor) bool {
		out = append(out, c.pos)
		return true
	})
	return out
}

// tellCaughtUp reports whether c may go live: at the first time the client is told,
// once all cursors of the subscription are there.
func (s *subscription) tellCaughtUp(c *cursor) bool {
	if s.replaying == 0 || c.live {
		return true
	}
	if !s.asked().given() && !s.snapshots() {
		c.live = true
		s.replaying--
		return true // it asked for no history
	}
	n := Notice{Kind: NoticeCaughtUp, Channel: s.channel}
	if !c.src.loose() {
		n.Positions = s.positions() // a loose pattern's client keeps those of its messages
	}
	if s.replaying == 1 && !s.client.notify(n) {
		return false
	}
	c.live = true
	s.replaying--
	return true
}

// resume moves on what waited for room.
func (s *subscription) resume() {
	s.each(func(c *cursor) bool {
		if !s.announced && s.waiting == 0 {
			s.begins(c, true, "")
		}
		c.step()
		return !s.ended
	})
}

// fail ends a subscription that could not begin.
func (s *subscription) fail(err error) {
	if s.ended {
		s.forget()
		return
	}
	s.end()
	s.client.notify(Notice{Kind: NoticeFailed, Token: s.token, Channel: s.channel, Err: err})
}

// end detaches the cursors. Patterns of the client that left messages to this
// subscription take over those that it did not come to deliver.
func (s *subscription) end() {
	s.ended = true
	s.cancel()
	s.forget()
	c := s.client
	c.shard.hub.presence.leaves(s)
	i := slices.Index(c.active, s)
	if i < 0 {
		return
	}
	for _, o := range c.active {
		if !o.announced {
			o.each(func(cur *cursor) bool { cur.skipHad(); return true }) // what s has had
		}
	}
	c.active = slices.Delete(c.active, i, i+1)
	if s.channel.IsPattern() {
		c.patterns--
	}
	s.each(func(cur *cursor) bool {
		for _, o := range c.active {
			o.takeOver(cur)
		}
		cur.src.useView(s.conflates(), -1)
		c.shard.remove(cur)
		c.shard.hub.release(cur.src)
		return true
	})
}

// forget lets the channel be subscribed again.
func (s *subscription) forget() {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.refine != nil {
		s.refine.releaseLocked()
	}
	if c.subs.get(s.channel) == s {
		c.subs.remove(s)
		c.shard.hub.metrics.subscriptions.Dec()
	}
}
