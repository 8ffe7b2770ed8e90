package rivulet

import (
	"maps"
	"slices"
)

// This file is about what the application has not taken of subscriptions that ended. The node
// counts it as had by the connection (clause P-4.4) as long as it knows one that overlaps: one
// that asks for it again has those let go of first.

// mostDropped bounds how many names of ended subscriptions a link remembers. Those of a
// namespace become one, of all that is in it, before; beyond it, any may be one.
const mostDropped = 64

// dropped notes that a subscription of this name ended on l, or left out what came: what
// waited for the application, and what was still to come, is counted as had here.
func (l *link) dropped(channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.drops) > mostDropped {
		return
	}
	if _, known := l.drops[channel]; !known && len(l.drops) == mostDropped {
		in := namespace(channel)
		maps.DeleteFunc(l.drops, func(name string, _ struct{}) bool { return namespace(name) == in })
		channel = in + ":>"
	}
	l.drops[channel] = struct{}{}
}

// mayLack reports whether l may have had what a subscription of this name has not.
func (l *link) mayLack(channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.drops) > mostDropped {
		return true
	}
	for name := range l.drops {
		if alike(name, channel) {
			return true
		}
	}
	return false
}

// forgetDroppedLocked forgets the names of which the node of l, which may be nil, has forgotten
// what was dropped: it knows nothing any more that overlaps. Client.mu is held.
func (c *Client) forgetDroppedLocked(l *link) {
	if l == nil {
		return
	}
	known := slices.Collect(maps.Keys(c.leaving))
	for _, s := range c.subscriptionsLocked() {
		if s.known() {
			known = append(known, s.channel)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.drops) > mostDropped && len(known) > 0 {
		return
	}
	maps.DeleteFunc(l.drops, func(name string, _ struct{}) bool {
		return !slices.ContainsFunc(known, func(other string) bool { return alike(name, other) })
	})
}

// known reports whether the node may know s.
func (s *Subscription) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase != phaseIdle && (s.phase != phasePaused || !s.released)
}

// alike reports whether two names overlap, or are one.
func alike(a, b string) bool { return a == b || overlapping(a, b) }

// clears has the node let go first of what overlaps with s, where s asks for history that
// an ended subscription may have dropped: as long as one that overlaps is known on l, the
// node leaves out what l has had. It reports whether s waits for that.
func (s *Subscription) clears(l *link) bool {
	s.mu.Lock()
	begins := s.phase == phaseIdle && !s.started && s.cleared != l && s.opts.starts() > 0 && !s.opts.Durable
	s.mu.Unlock()
	if !begins || !l.mayLack(s.channel) {
		return false
	}
	s.clearedOn(l)
	if s.client.hold(l, s) {
		return true
	}
	s.clearedOn(nil)
	return false
}

func (s *Subscription) clearedOn(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleared = l
}

// leavingLocked reports whether one that has ended is still known to the node that would
// keep from s what it asks for.
func (c *Client) leavingLocked(s *Subscription) bool {
	return s != nil && s.clearing() && slices.ContainsFunc(c.subscriptionsLocked(), func(o *Subscription) bool {
		return o != s && closed(o.done) && overlap(o, s)
	})
}

// clearing reports whether others were let go of for s to get what it asks for.
func (s *Subscription) clearing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cleared != nil
}

// anew reports whether s has not begun yet and may ask for what an ended one has dropped.
func (s *Subscription) anew() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.started && s.opts.starts() > 0
}

// clearingFirst moves the patterns that ask for what was dropped before the other patterns,
// which would take it where they begin before, and returns them.
func clearingFirst(l *link, list []*Subscription) (sorted, first []*Subscription) {
	var rest []*Subscription
	for _, s := range list {
		switch {
		case !s.pattern:
			sorted = append(sorted, s)
		case s.clearing() || s.anew():
			s.clearedOn(l)
			first = append(first, s)
		default:
			rest = append(rest, s)
		}
	}
	return slices.Concat(sorted, first, rest), first
}
