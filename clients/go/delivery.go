package rivulet

import (
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

const (
	// mostBlocked is how long a full buffer keeps the client from reading its socket
	// before the subscription is paused: below the time after which the node takes a
	// client for dead.
	mostBlocked = 10 * time.Second
	// mostBlockedReply is the same while somebody waits for a reply on the socket.
	mostBlockedReply = 100 * time.Millisecond
)

// This file is the subscription's side of the wire. All but ask and resume run in
// the read loop of the link.

// ask sends the subscribe on l, if the subscription is to be asked for, and
// reports whether it did. l may be nil.
func (s *Subscription) ask(l *link) bool {
	for l != nil {
		s.mu.Lock()
		lost := s.phase == phaseRequested && s.link.isLost()
		if s.phase != phaseIdle && !lost {
			s.mu.Unlock()
			return false
		}
		s.phase, s.link = phaseRequested, l
		s.request++
		request, c := s.request, s.startLocked()
		s.mu.Unlock()

		id := l.expect(func(e *protocol.Event) { s.answered(l, request, e) })
		if _, err := l.send(nil, &protocol.Command{ID: id, Subscribe: c}); err == nil {
			return true
		} else if e, ok := err.(*Error); ok { //nolint:errorlint // send returns it unwrapped
			l.giveUp(id)
			s.fail(e)
			return false
		}
		// The link is gone. If there is a new one already, its turn to ask may have
		// passed while this request was in the way.
		s.mu.Lock()
		if s.phase == phaseRequested && s.request == request {
			s.phase, s.link = phaseIdle, nil
		}
		s.mu.Unlock()
		next := s.client.current()
		if next == l {
			break
		}
		l = next
	}
	return false
}

// startLocked is where to subscribe: after what was received, or as the application said.
func (s *Subscription) startLocked() *protocol.SubscribeCommand {
	c := &protocol.SubscribeCommand{Channel: s.channel}
	if known := s.received.list(); s.started && len(known) > 0 {
		c.Position = s.received.one
		if s.pattern {
			c.Positions = known
		}
		return c
	}
	c.Position, c.Last = s.opts.Position, s.opts.Last
	if s.pattern {
		c.Positions = s.opts.Positions
	} else if len(s.opts.Positions) == 1 {
		c.Position = s.opts.Positions[0]
	}
	if !s.opts.Since.IsZero() {
		c.Since = s.opts.Since.UnixMilli()
	}
	return c
}

// answered takes the reply to a subscribe.
func (s *Subscription) answered(l *link, request uint64, e *protocol.Event) {
	switch {
	case e.Subscribed != nil:
		s.subscribed(l, request, e.Subscribed)
	case e.Error != nil:
		s.refused(request, errorFrom(e.Error))
	default:
		s.fail(errUnexpectedReply)
	}
	s.client.askNext(l)
}

func (s *Subscription) subscribed(l *link, request uint64, e *protocol.SubscribedEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseRequested || s.request != request {
		return
	}
	u := Update{
		Kind: KindSubscribed, Channel: s.channel, Positions: allPositions(e.Position, e.Positions),
		Resumed: s.started || s.opts.Position != "" || len(s.opts.Positions) > 0, Recovered: e.Recovered, Reason: e.Reason,
	}
	s.phase, s.link, s.failures = phaseLive, l, 0
	if !e.Recovered {
		s.seen.forget("")
	}
	l.began(s, u.Positions, !u.Resumed || !u.Recovered)
	if !s.started {
		s.started = true
		close(s.began)
	}
	s.deliverLocked(u)
}

func allPositions(one string, many []string) []string {
	if one == "" {
		return many
	}
	return append([]string{one}, many...)
}

// refused tries again later, or ends the subscription.
func (s *Subscription) refused(request uint64, err *Error) {
	s.mu.Lock()
	if s.phase != phaseRequested || s.request != request {
		s.mu.Unlock()
		return
	}
	if !err.Temporary && !err.Code.Resubscribe() {
		s.mu.Unlock()
		s.fail(err)
		return
	}
	s.phase, s.link = phaseIdle, nil
	s.failures++
	wait := s.client.opts.Backoff.wait(s.failures, err.RetryAfter)
	s.mu.Unlock()
	s.client.after(wait, func() { s.ask(s.client.current()) })
}

// ended takes an `unsubscribed` that nobody asked for.
func (s *Subscription) ended(l *link, e *protocol.UnsubscribedEvent) {
	s.mu.Lock()
	request, ours := s.request, s.phase == phaseLive && s.link == l
	if ours {
		s.phase = phaseRequested // as if a subscribe had been refused
	}
	s.mu.Unlock()
	if !ours {
		return
	}
	l.forget(s)
	code := e.Code
	if code == 0 {
		code = protocol.ErrorRevoked
	}
	s.refused(request, &Error{Code: code, Message: e.Reason, Temporary: code.Temporary(), Remedy: remedy(code)})
}

// deliver hands u to the application, waiting while the buffer is full.
func (s *Subscription) deliver(l *link, u Update) {
	for {
		s.mu.Lock()
		switch {
		case s.phase != phaseLive || s.link != l || l.isLost():
			s.mu.Unlock()
			return
		case !s.buffer.full():
			s.deliverLocked(u)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if !s.waitForRoom(l) {
			s.pause(l)
			return
		}
	}
}

func (s *Subscription) deliverLocked(u Update) {
	switch {
	case u.Kind == KindMessage:
		if s.seen.has(u.Message) {
			return
		}
		s.seen.note(u.Message)
	case u.Kind == KindGap && u.Channel == s.channel:
		s.seen.forget("")
		s.moved(u.Positions)
	case u.Kind == KindGap:
		s.seen.forget(u.Channel)
	}
	s.received.apply(&u)
	s.buffer.push(u)
	if s.opts.callbacks() {
		s.client.calls.add(s)
	} else {
		notify(s.avail)
	}
}

// waitForRoom reports whether the application took something in time. A pattern
// beside another is never given up on: the node would let the other one, which is
// then the older, have their common messages.
func (s *Subscription) waitForRoom(l *link) bool {
	wait := mostBlocked
	if l.awaited() {
		wait = mostBlockedReply
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-s.room:
			return true
		case <-timer.C:
			if !s.pattern || s.client.patternCount() == 1 {
				return false
			}
		case <-l.lost:
			return true
		case <-s.done:
			return true
		case <-l.urge:
			if l.awaited() {
				timer.Reset(mostBlockedReply)
			}
		}
	}
}

// pause lets go of the subscription at the node. What still comes of it is dropped
// and will be read again.
func (s *Subscription) pause(l *link) {
	s.mu.Lock()
	if s.phase != phaseLive || s.link != l {
		s.mu.Unlock()
		return
	}
	s.phase, s.link, s.released = phasePaused, nil, false
	s.mu.Unlock()
	id := l.expect(func(*protocol.Event) {
		l.forget(s)
		s.release()
	})
	// If it does not go out, the link is gone, and with it the subscription.
	_, _ = l.send(nil, &protocol.Command{ID: id, Unsubscribe: &protocol.UnsubscribeCommand{Channel: s.channel}})
}

// release notes that the node has let go.
func (s *Subscription) release() {
	s.mu.Lock()
	s.released = true
	s.mu.Unlock()
	s.resume()
}

// resume takes up a paused subscription once there is room for half a buffer.
func (s *Subscription) resume() {
	s.mu.Lock()
	if s.phase != phasePaused || !s.released || !s.buffer.low() {
		s.mu.Unlock()
		return
	}
	s.phase = phaseIdle
	s.mu.Unlock()
	s.ask(s.client.current())
}

// detach notes that l is lost: the subscription is to be asked for again.
func (s *Subscription) detach(l *link) {
	s.mu.Lock()
	ended := s.phase == phaseEnded
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
	s.resume()
}

// fail ends the subscription for a reason of the node's.
func (s *Subscription) fail(err error) {
	s.end(err, false)
	s.client.remove(s)
}

// end ends the subscription; drop discards what the application has not taken. It
// returns the link on which the node still knows the subscription, nil if on none.
func (s *Subscription) end(err error, drop bool) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseEnded {
		return nil
	}
	l := s.link
	s.phase, s.link, s.err = phaseEnded, nil, err
	if drop {
		s.buffer.clear()
	}
	close(s.done)
	return l
}
