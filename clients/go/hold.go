package rivulet

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

// askMore asks for more of the subscriptions in todo. Patterns wait until the
// channels before them have begun: until then, the node would take a channel's
// messages for the pattern's. So they do for patterns that are to begin before them.
func (l *link) askMore() {
	for {
		s, turn := l.nextToAsk()
		if s == nil {
			return
		}
		if !s.ask(l) {
			l.passed(s, turn)
		}
	}
}

// asking is that a subscription of todo has its turn.
type asking struct {
	first bool // patterns wait until it has begun
}

func (l *link) nextToAsk() (*Subscription, *asking) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.todo) == 0 || len(l.asked) >= askAtOnce {
		return nil, nil
	}
	s := l.todo[0]
	if s.pattern {
		for other, turn := range l.asked {
			if turn.first || !other.pattern {
				return nil, nil
			}
		}
	}
	l.todo[0] = nil
	l.todo = l.todo[1:]
	turn := &asking{}
	_, turn.first = l.first[s]
	l.asked[s] = turn
	delete(l.first, s)
	return s, turn
}

// passed notes that s was not asked for when it had its turn. It may have had another since.
func (l *link) passed(s *Subscription, turn *asking) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked[s] == turn {
		delete(l.asked, s)
	}
}

// answered notes that the node has answered what askMore asked for.
func (l *link) answered(s *Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.asked, s)
}

// hold is the pause of a subscription whose buffer is full. Those that overlap
// with it, directly or through others, pause too: while only one of them is known
// to the node, it would get their common messages. So does one that begins meanwhile.
// A subscription pauses with one hold at a time, and a hold lasts no longer than its
// cause pauses with it: nothing else would end it.
type hold struct {
	cause   *Subscription          // nil: one of Client.leaving
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
	l := c.link
	c.forgetDroppedLocked(l)
	var list []*Subscription
	for _, m := range c.subscriptionsLocked() { // channels, then patterns in their order
		if h.members[m] && m.unpause(h) {
			list = append(list, m)
		}
	}
	list, first := clearingFirst(l, list)
	c.mu.Unlock()
	if l != nil {
		l.add(list, first...)
		l.askMore()
	}
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
