package rivulet

import (
	"slices"

	"github.com/rivulet-rt/rivulet/protocol"
)

// This file finds the subscription whose cursor at the node delivered a message
// (clauses P-4.4 and P-5.7). It matters only where subscriptions overlap: the
// position of any other would be moved past messages that it has not had. All of
// it runs in the read loop.

// route returns the subscription that a message of the channel belongs to; nil if
// none is known.
func (c *Client) route(l *link, channel, position string, offset uint64) *Subscription {
	exact, stream := c.lookup(channel), protocol.StreamKey(position)
	if exact != nil && exact.first != nil && exact.first.before(stream, offset) {
		// Its own, even if a pattern delivered it because the subscription is not, or not
		// yet again, known to the node: it will read it by itself.
		return exact
	}
	var found *Subscription
	for _, s := range l.patterns {
		if !matches(s.channel, channel) {
			continue
		}
		if s.here.before(stream, offset) {
			return s
		}
		if found == nil {
			found = s
		}
	}
	if found == nil && exact != nil && exact.first != nil {
		return exact
	}
	return found
}

// began notes that s has begun at the positions on l. anew says that it has no
// history: it begins for the first time, or not where it had stopped.
func (l *link) began(s *Subscription, positions []string, anew bool) {
	s.here = startsAt(positions)
	if anew || s.first == nil {
		s.first = startsAt(positions)
	}
	if s.pattern {
		l.forget(s)
		l.patterns = append(l.patterns, s)
	}
}

// moved notes that a gap made s begin at the positions.
func (s *Subscription) moved(positions []string) {
	if s.here != nil {
		s.here.move(positions)
		s.first.move(positions)
	}
}

// forget takes s out of the order of l's patterns.
func (l *link) forget(s *Subscription) {
	l.patterns = slices.DeleteFunc(l.patterns, func(o *Subscription) bool { return o == s })
}

// hadElsewhere reports whether another pattern than s, its recipient, has given m
// to the application before the connection was lost.
func (l *link) hadElsewhere(s *Subscription, m *Message) bool {
	if len(l.patterns) < 2 || !s.pattern {
		return false
	}
	for _, other := range l.patterns {
		if other != s && matches(other.channel, m.Channel) && other.hasSeen(m) {
			s.skip(l, m)
			return true
		}
	}
	return false
}

func (s *Subscription) hasSeen(m *Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.has(m)
}

// skip moves s over a message that is not to be delivered.
func (s *Subscription) skip(l *link, m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseLive && s.link == l {
		s.received.set(m.Position)
	}
}
