package rivulet

// This file is how a subscription ends, or is let go of, at the node.

// letBehind lets go of what comes until there is room: to unsubscribe would make the
// session forget the channel.
func (s *Subscription) letBehind(l *link) {
	s.mu.Lock()
	s.behind = l
	s.mu.Unlock()
	s.catchUp() // the application may have taken what it had meanwhile
}

// leave gives up a durable subscription that nobody waits for any more, on whose place
// the session shall stay: with the connection the node gives it up.
func (s *Subscription) leave(l *link) {
	s.client.remove(s)
	l.close(errLost)
}

// letGoFor unsubscribes a paused subscription at the node.
func (s *Subscription) letGoFor(l *link) {
	// If it does not go out, the link is gone, and with it the subscription.
	_ = s.client.unsubscribe(l, s.channel, func() {
		l.forget(s)
		s.mu.Lock()
		ended, held := s.phase == phaseEnded, s.held
		s.released = true
		s.mu.Unlock()
		if ended {
			s.client.remove(s)
		}
		held.resume(s.client)
	})
}

// givenUp lets go of s, which begins on l when nobody wants it any more, and of what overlaps
// with it: what would come of it until then is theirs.
func (c *Client) givenUp(l *link, s *Subscription) {
	c.mu.Lock()
	var known []*Subscription
	if h := (&hold{members: c.besideLocked(s.channel)}); len(h.members) > 0 && c.link == l {
		c.holds[h] = struct{}{}
		c.leaving[s.channel] = true
		known = c.pauseLocked(h, l)
	}
	c.mu.Unlock()
	s.letGo(l)
	for _, m := range known {
		m.letGoFor(l)
	}
}

// detach notes that l is lost: the subscription is to be asked for again.
func (s *Subscription) detach(l *link) {
	s.mu.Lock()
	ended, held := s.phase == phaseEnded, s.held
	switch {
	case s.phase == phasePaused:
		s.released = true
	case s.link == l && (s.phase == phaseRequested || s.phase == phaseLive):
		s.phase, s.link = phaseIdle, nil
	}
	s.mu.Unlock()
	if ended {
		s.client.remove(s)
	}
	held.resume(s.client)
}

// fail ends the subscription for a reason of the node's.
func (s *Subscription) fail(err error) {
	s.end(err, false)
	s.client.remove(s)
}

// end ends the subscription; drop discards what the application has not taken. It
// returns the link on which the node knows the subscription, for it to let go there, nil
// if on none. Where the node is still to answer a subscribe or an unsubscribe, the answer
// brings the rest.
func (s *Subscription) end(err error, drop bool) *link {
	s.mu.Lock()
	if s.phase == phaseEnded {
		s.mu.Unlock()
		return nil
	}
	var l *link
	if s.phase == phaseLive {
		l = s.link
	}
	held := s.held
	waits := s.phase == phaseRequested && !s.link.isOver() || s.phase == phasePaused && !s.released
	s.phase, s.link, s.held, s.err = phaseEnded, nil, nil, err
	if drop {
		s.buffer.clear()
	}
	close(s.done)
	s.mu.Unlock()
	if current := s.client.current(); current != nil {
		current.dropped(s.channel)
	}
	if l == nil && !waits {
		s.client.remove(s)
	}
	held.resume(s.client) // others may have waited for it
	return l
}

// letGo unsubscribes an ended subscription at the node, and removes it from the
// client when the node has let go: until then, its messages are not another's.
func (s *Subscription) letGo(l *link) {
	l.dropped(s.channel)
	err := s.client.unsubscribe(l, s.channel, func() {
		l.forget(s)
		s.client.remove(s)
	})
	if err != nil {
		s.client.remove(s)
	}
}
