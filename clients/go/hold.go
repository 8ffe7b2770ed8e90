package rivulet

import "slices"

// askAtOnce is how many subscribes of a link's todo go out before their replies.
const askAtOnce = 64

// add appends to the subscriptions to be asked for: channels, then patterns. Of these,
// first begin before others: the node may send what it answers to several in any order.
func (l *link) add(subs []*Subscription, first ...*Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.todo = append(l.todo, subs...)
	for _, s := range first {
		l.first[s] = struct{}{}
	}
}

// mostDropped bounds how many names of ended subscriptions a link remembers; beyond it,
// any may be one.
const mostDropped = 64

// dropped notes that a subscription of this name ended on l, or left out what came: what
// waited for the application, and what was still to come, is counted as had here (clause
// P-4.4).
func (l *link) dropped(channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.drops) <= mostDropped {
		l.drops[channel] = struct{}{}
	}
}

// mayLack reports whether l may have had what a subscription of this name has not.
func (l *link) mayLack(channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.drops) > mostDropped {
		return true
	}
	for name := range l.drops {
		if name == channel || overlapping(name, channel) {
			return true
		}
	}
	return false
}

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

// askMore asks for more of the subscriptions in todo. Patterns wait until the
// channels before them have begun: until then, the node would take a channel's
// messages for the pattern's. So they do for patterns that are to begin before them.
func (l *link) askMore() {
	for {
		s := l.nextToAsk()
		if s == nil {
			return
		}
		if !s.ask(l) {
			l.answered(s)
		}
	}
}

func (l *link) nextToAsk() *Subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.todo) == 0 || len(l.asked) >= askAtOnce {
		return nil
	}
	s := l.todo[0]
	if s.pattern {
		for other := range l.asked {
			if _, first := l.first[other]; first || !other.pattern {
				return nil
			}
		}
	}
	l.todo[0] = nil
	l.todo = l.todo[1:]
	l.asked[s] = struct{}{}
	return s
}

// answered notes that the node has answered what askMore asked for.
func (l *link) answered(s *Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.asked, s)
	delete(l.first, s)
}

// hold is the pause of a subscription whose buffer is full. Those that overlap
// with it, directly or through others, pause too: while only one of them is known
// to the node, it would get their common messages. So does one that begins meanwhile.
// A subscription pauses with one hold at a time, and a hold lasts no longer than its
// cause pauses with it: nothing else would end it.
type hold struct {
	cause   *Subscription          // nil: one that the token names, see brought.go
	members map[*Subscription]bool // guarded by Client.mu
}

// hold lets go of s, and of what overlaps with it, at the node, and reports whether. What
// still comes of them is dropped, and will be read again. It has nothing to do where the
// hold of another, made at the same time, has let go of s and all that overlaps, where s has
// ended, and where l is gone, and with it what the node knew there.
func (c *Client) hold(l *link, s *Subscription) bool {
	h := &hold{cause: s}
	c.mu.Lock()
	if c.link != l || !s.holds() {
		c.mu.Unlock()
		return false
	}
	h.members = c.overlappingLocked(s)
	c.holds[h] = struct{}{}
	known := c.pauseLocked(h, l)
	c.mu.Unlock()
	for _, m := range known {
		m.letGoFor(l)
	}
	h.resume(c) // the application may have taken what it had meanwhile
	return true
}

// pauseLocked pauses the members of h and returns those that the node knows on l.
func (c *Client) pauseLocked(h *hold, l *link) (known []*Subscription) {
	for _, m := range c.subscriptionsLocked() {
		if h.members[m] && m.pause(h, l) {
			known = append(known, m)
		}
	}
	return known
}

// holds reports whether s can be the cause of a hold. With Client.mu held, only the end of
// s makes that untrue.
func (s *Subscription) holds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase != phasePaused && s.phase != phaseEnded
}

// held reports whether s, which is about to be asked for, waits with others that overlap
// with it and are let go of: else it would get from them what nobody reads again.
func (c *Client) held(s *Subscription) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := range c.holds {
		for m := range h.members {
			if (m == s || overlap(m, s)) && s.wait(h) {
				h.members[s] = true
				return true
			}
		}
	}
	return false
}

// wait pauses s, which the node does not know, and reports whether.
func (s *Subscription) wait(h *hold) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := s.phase == phaseRequested && s.link.isOver()
	if s.opts.Durable || s.phase != phaseIdle && !over {
		return false
	}
	s.phase, s.link, s.held, s.released = phasePaused, nil, h, true
	return true
}

// pause reports whether the node knows s on l.
func (s *Subscription) pause(h *hold, l *link) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	here := s.link == l
	switch s.phase {
	case phaseLive:
		known = here
	case phaseRequested, phaseIdle: // asked for here, the answer brings the rest
	case phasePaused, phaseEnded:
		return false
	}
	if s.opts.Durable {
		return false // to unsubscribe would make the session forget it
	}
	s.phase, s.link, s.held, s.released = phasePaused, nil, h, !here
	notify(s.room) // nobody waits for it any more
	return known
}

// overlappingLocked returns s and all that overlap with it, directly or through others.
func (c *Client) overlappingLocked(s *Subscription) map[*Subscription]bool {
	all := c.subscriptionsLocked()
	group := map[*Subscription]bool{s: true}
	for queue := []*Subscription{s}; len(queue) > 0; queue = queue[1:] {
		for _, other := range all {
			if !group[other] && overlap(queue[0], other) {
				group[other] = true
				queue = append(queue, other)
			}
		}
	}
	return group
}

// overlap reports whether both may match one message; of two patterns of one
// namespace it supposes so.
func overlap(a, b *Subscription) bool { return overlapping(a.channel, b.channel) }

func overlapping(a, b string) bool {
	switch p, q := isPattern(a), isPattern(b); {
	case p && q:
		return namespace(a) == namespace(b)
	case p:
		return matches(a, b)
	case q:
		return matches(b, a)
	}
	return false
}

// resume takes the members up again once the node has let go of all and the cause
// has room for half a buffer. h may be nil.
func (h *hold) resume(c *Client) {
	if h == nil {
		return
	}
	c.mu.Lock()
	if _, on := c.holds[h]; !on || !h.overLocked() || h.partingLocked(c) || c.leavingLocked(h.cause) {
		c.mu.Unlock()
		return
	}
	delete(c.holds, h)
	var list []*Subscription
	for _, m := range c.subscriptionsLocked() { // channels, then patterns in their order
		if h.members[m] && m.unpause(h) {
			list = append(list, m)
		}
	}
	list, first := clearingFirst(list)
	l := c.link
	c.mu.Unlock()
	if l != nil {
		l.add(list, first...)
		l.askMore()
	}
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

// clearingFirst moves the patterns for which others were let go of before the other
// patterns, which would take what these ask for where they begin before, and returns them.
func clearingFirst(list []*Subscription) (sorted, first []*Subscription) {
	var rest []*Subscription
	for _, s := range list {
		switch {
		case !s.pattern:
			sorted = append(sorted, s)
		case s.clearing():
			first = append(first, s)
		default:
			rest = append(rest, s)
		}
	}
	return slices.Concat(sorted, first, rest), first
}

// unpause reports whether s, paused by h, is to be asked for again.
func (s *Subscription) unpause(h *hold) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phasePaused || s.held != h {
		return false
	}
	s.phase, s.held = phaseIdle, nil
	return true
}

func (h *hold) overLocked() bool {
	if h.cause != nil {
		h.cause.mu.Lock()
		low := h.cause.phase == phaseEnded || h.cause.buffer.low()
		h.cause.mu.Unlock()
		if !low {
			return false
		}
	}
	for m := range h.members {
		m.mu.Lock()
		waits := m.phase == phasePaused && m.held == h && !m.released
		m.mu.Unlock()
		if waits {
			return false
		}
	}
	return true
}
