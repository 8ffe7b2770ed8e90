package rivulet

import "slices"

// askAtOnce is how many subscribes of a link's todo go out before their replies.
const askAtOnce = 64

// add appends to the subscriptions to be asked for: channels, then patterns.
func (l *link) add(subs []*Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.todo = append(l.todo, subs...)
}

// askMore asks for more of the subscriptions in todo. Patterns wait until the
// channels before them have begun: until then, the node would take a channel's
// messages for the pattern's.
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
			if !other.pattern {
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
}

// hold is the pause of a subscription whose buffer is full. Those that overlap
// with it, directly or through others, pause too: while only one of them is known
// to the node, it would get their common messages.
type hold struct {
	cause   *Subscription
	members []*Subscription // channels, then patterns in their order
}

// hold lets go of s, and of what overlaps with it, at the node. What still comes of
// them is dropped, and will be read again. It runs in the read loop.
func (c *Client) hold(l *link, s *Subscription) {
	h := &hold{cause: s, members: c.overlapping(s)}
	var known []*Subscription
	for _, m := range h.members {
		if m.pause(h, l) {
			known = append(known, m)
		}
	}
	for _, m := range known {
		m.letGoFor(l)
	}
	h.resume(c) // the application may have taken what it had meanwhile
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
	return known
}

// overlapping returns s and all that overlap with it, directly or through others.
func (c *Client) overlapping(s *Subscription) []*Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
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
	return slices.DeleteFunc(all, func(o *Subscription) bool { return !group[o] })
}

// overlap reports whether both may match one message; of two patterns of one
// namespace it supposes so.
func overlap(a, b *Subscription) bool {
	switch {
	case a.pattern && b.pattern:
		return namespace(a.channel) == namespace(b.channel)
	case a.pattern:
		return matches(a.channel, b.channel)
	case b.pattern:
		return matches(b.channel, a.channel)
	}
	return false
}

// resume takes the members up again once the node has let go of all and the cause
// has room for half a buffer. h may be nil.
func (h *hold) resume(c *Client) {
	if h == nil || !h.over() {
		return
	}
	for _, m := range h.members {
		m.mu.Lock()
		if m.phase == phasePaused && m.held == h {
			m.phase, m.held = phaseIdle, nil
		}
		m.mu.Unlock()
	}
	if l := c.current(); l != nil {
		l.add(h.members)
		l.askMore()
	}
}

func (h *hold) over() bool {
	h.cause.mu.Lock()
	low := h.cause.phase == phaseEnded || h.cause.buffer.low()
	h.cause.mu.Unlock()
	if !low {
		return false
	}
	for _, m := range h.members {
		m.mu.Lock()
		waits := m.phase == phasePaused && m.held == h && !m.released
		m.mu.Unlock()
		if waits {
			return false
		}
	}
	return true
}
