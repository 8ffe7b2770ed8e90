package fanout

import "time"

const (
	// paceTick is how exactly rates are kept: those whose turn comes within the same tick
	// have it together.
	paceTick = 10 * time.Millisecond
	// paceTicks is above what a rate of one a second has to wait for.
	paceTicks = 128
)

// pace is the rate of one subscription: one message each time, some at once where more
// than one is due in a tick. Owned by the shard's goroutine.
type pace struct {
	each    time.Duration // 0: no rate
	next    int64         // when the next message is due by the rate, by shard.now
	waiting bool          // for its turn
}

// due reports whether a message may go now.
func (p *pace) due(now int64) bool { return now >= p.next-int64(paceTick) }

// took notes that one went.
func (p *pace) took(now int64) { p.next = max(p.next, now) + int64(p.each) }

// turns are the subscriptions of a shard whose rate makes them wait, by tick. One timer
// serves all. Owned by the shard's goroutine.
type turns struct {
	wheel   [paceTicks][]*subscription
	waiting int   // in the wheel
	tick    int64 // up to here all had their turn
	due     []*subscription
	tired   []*subscription // that wait, and are visited by messages still
	timer   *time.Timer
}

// now is the time that rates go by, in nanoseconds since the hub was made: it does not
// step with the machine's clock, which could put everybody's turn an hour off.
func (s *shard) now() int64 { return int64(time.Since(s.hub.made)) }

// await makes a subscription wait for its turn.
func (s *shard) await(sub *subscription) {
	p := &sub.refine.pace
	if p.waiting {
		return
	}
	p.waiting = true
	if s.turns == nil {
		s.turns = &turns{timer: time.NewTimer(time.Hour)}
	}
	t := s.turns
	now := s.now() / int64(paceTick)
	if t.waiting == 0 {
		t.tick = now
	}
	at := p.next / int64(paceTick) // one tick early, for which due makes room
	at = min(max(at, t.tick+1), t.tick+paceTicks-1)
	t.wheel[at%paceTicks] = append(t.wheel[at%paceTicks], sub)
	t.waiting++
	t.tired = append(t.tired, sub)
}

// rest has messages leave out who only waits: a crowd of these costs nothing until its
// turn. A loose source's cursors are visited, since they must be told of what is late.
func (t *turns) rest() {
	for _, sub := range t.tired {
		if sub.ended || !sub.refine.pace.waiting {
			continue
		}
		sub.each(func(c *cursor) bool {
			if c.state == cursorCatchingUp && !c.src.loose() {
				c.at.rest(c)
			}
			return true
		})
	}
	clear(t.tired)
	t.tired = t.tired[:0]
}

// clock tells when the next turn may have come; nil where nobody waits.
func (s *shard) clock() <-chan time.Time {
	if s.turns == nil || s.turns.waiting == 0 {
		return nil
	}
	s.turns.timer.Reset(paceTick)
	return s.turns.timer.C
}

// giveTurns moves those whose turn has come, as many as a slice, and reports whether
// more wait for the next slice.
func (s *shard) giveTurns() (more bool) {
	t := s.turns
	if t == nil || t.waiting == 0 && len(t.due) == 0 {
		return false
	}
	t.rest()
	t.collect(s.now() / int64(paceTick))
	n := min(len(t.due), s.hub.cfg.SliceCursors)
	for i, sub := range t.due[:n] {
		sub.refine.pace.waiting = false
		if !sub.ended {
			sub.each(func(c *cursor) bool { c.at.wake(c); return true })
			sub.resume()
		}
		if i%turn == turn-1 {
			s.uncork()
		}
	}
	s.uncork()
	rest := copy(t.due, t.due[n:])
	clear(t.due[rest:])
	t.due = t.due[:rest]
	return rest > 0
}

// collect takes out of the wheel whose turn has come by now.
func (t *turns) collect(now int64) {
	for ; t.waiting > 0 && t.tick < now; t.tick++ {
		slot := &t.wheel[(t.tick+1)%paceTicks]
		t.due = append(t.due, *slot...)
		t.waiting -= len(*slot)
		clear(*slot)
		*slot = (*slot)[:0]
	}
}
