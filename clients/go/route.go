package rivulet

import "slices"

// This file finds the subscription whose cursor at the node delivered a message
// (clauses P-4.4 and P-5.7). It matters only where subscriptions overlap: the
// position of any other would be moved past messages that it has not had. All of
// it runs in the read loop.

// route returns the subscription that a message of the channel belongs to; nil if
// none is known.
func (l *link) route(channel, position string, offset uint64) *Subscription {
	exact := l.exact[channel]
	if exact != nil && exact.here.before(position, offset) {
		return exact
	}
	found := exact
	for _, s := range l.patterns {
		if !matches(s.channel, channel) {
			continue
		}
		if s.here.before(position, offset) {
			return s
		}
		if found == nil {
			found = s
		}
	}
	return found
}

// began notes that s has begun at the positions on l.
func (l *link) began(s *Subscription, positions []string) {
	s.here = startsAt(positions)
	l.forget(s)
	if s.pattern {
		s.lives.begin(l.line)
		l.patterns = append(l.patterns, s)
	} else {
		l.exact[s.channel] = s
	}
	l.line.add(s.channel, s.pattern)
}

// theirs is the stretch in which patterns have had on l what matches a channel, to which a
// subscription begins now at the position: the node leaves that out (clause P-4.4), so that
// what comes to it is no proof of what lies between.
func (l *link) theirs(channel, position string) span {
	all := span{log: logOf(position)}
	for _, p := range l.patterns {
		if !matches(p.channel, channel) {
			continue
		}
		from := p.here.in(position)
		p.mu.Lock()
		last := p.seen.last(channel)
		p.mu.Unlock()
		switch to := last.upTo(all.log); {
		case to <= from:
		case all.to == 0:
			all.from, all.to = from, to
		default:
			all.from, all.to = min(all.from, from), max(all.to, to)
		}
	}
	return all
}

// moved notes that a gap made s begin at the positions.
func (s *Subscription) moved(positions []string) {
	if s.here != nil {
		s.here.move(positions)
	}
}

// forget notes that the node does not know s any more on l.
func (l *link) forget(s *Subscription) {
	if l.exact[s.channel] == s {
		delete(l.exact, s.channel)
	}
	l.patterns = slices.DeleteFunc(l.patterns, func(o *Subscription) bool { return o == s })
}

// hadElsewhere reports whether another subscription than s, to which a message is to go,
// has given it to the application over an earlier connection. One that has not had all that
// it asked for gets it all the same: it may go on where one stood that has dropped it. So
// does a durable one: what another has had is not acknowledged.
func (c *Client) hadElsewhere(l *link, s *Subscription, u *Update) bool {
	if s.opts.Durable || !s.whole {
		return false
	}
	for _, other := range c.others(s, u.Channel) {
		if other.had(u.Message) {
			s.skip(l, u)
			return true
		}
	}
	return false
}

// others returns the subscriptions beside s that match the channel.
func (c *Client) others(s *Subscription, channel string) []*Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*Subscription
	if exact := c.exact[channel]; exact != nil && exact != s {
		list = append(list, exact)
	}
	for _, p := range c.patterns {
		if p != s && matches(p.channel, channel) {
			list = append(list, p)
		}
	}
	return list
}

// had reports whether s has had m. What has a filter, or is conflated, may have left it
// out: rather twice than not at all.
func (s *Subscription) had(m *Message) bool {
	if s.opts.Filter != "" || s.opts.Conflate != "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.had(m)
}

// skip moves s over a message that is not to be delivered.
func (s *Subscription) skip(l *link, u *Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseLive && s.link == l {
		s.received.apply(u)
		s.seen.skipped(u.Message)
	}
}
