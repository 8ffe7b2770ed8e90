package rivulet

import "github.com/rivulet-rt/rivulet/protocol"

// This file is about messages that come to a subscription too late: it has had a later one of
// the channel, for before they were another's, which did not hand them on. All of it runs in
// the read loop.

// tooLate notes that u has come to s too late, and has a pattern read again that began anew
// where one stood that has dropped it: that one goes before the others then. It cannot go
// before a channel's own subscription.
func (c *Client) tooLate(l *link, s *Subscription, u *Update) {
	l.dropped(s.channel)
	if !s.pattern {
		return
	}
	for _, other := range c.others(s, u.Channel) {
		if other.pattern && other.goesBack(l, u.Message) {
			other.clearedOn(l)
			if !c.hold(l, other) {
				other.clearedOn(nil)
			}
			return
		}
	}
}

// goesBack moves s, which has asked for m and has neither had it nor a later one of the channel,
// to before m, and reports whether it could.
func (s *Subscription) goesBack(l *link, m *Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	begun := s.phase == phaseLive && s.link == l
	if !begun && s.phase != phaseRequested && s.phase != phaseIdle || s.opts.starts() == 0 || s.seen.has(m) {
		return false
	}
	from := startsAt(s.opts.Positions)
	switch {
	case begun:
		from = s.here
	case s.started:
		from = startsAt(s.received.list())
	}
	if !from.before(m.Position, m.Offset) {
		return false
	}
	if begun {
		s.received.set(from[protocol.StreamKey(m.Position)].position)
	}
	return true
}
