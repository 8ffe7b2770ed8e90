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
	mostBlockedReply = 25 * time.Millisecond
)

// This file is the subscription's side of the wire. All but ask and end run in the
// read loop of the link.

// ask sends the subscribe on l, if the subscription is to be asked for, and
// reports whether it did. l may be nil.
func (s *Subscription) ask(l *link) bool {
	for l != nil && !l.isLost() {
		if s.client.held(s) || s.clears(l) {
			return false
		}
		s.mu.Lock()
		over := s.phase == phaseRequested && s.link.isOver()
		if s.phase != phaseIdle && !over {
			s.mu.Unlock()
			return false
		}
		s.phase, s.link = phaseRequested, l
		s.request++
		request, c := s.request, s.startLocked()
		s.mu.Unlock()

		if s.opts.TokenFunc != nil {
			s.sendWithToken(l, request, c)
			return true
		}
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
	c := &protocol.SubscribeCommand{Channel: s.channel, Durable: s.opts.Durable, Presence: s.opts.Presence, Filter: s.opts.Filter, Conflate: s.opts.Conflate, MaxRate: s.opts.MaxRate}
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
	l.answered(s) // before it is asked for again
	if e.Subscribed != nil {
		s.client.parted(l, s.channel) // its place is taken; where that is refused, the node tells
	}
	switch {
	case e.Subscribed != nil:
		s.subscribed(l, request, e.Subscribed)
	case e.Error != nil:
		s.refused(request, errorFrom(e.Error))
	default:
		s.fail(errUnexpectedReply)
	}
	l.askMore()
}

func (s *Subscription) subscribed(l *link, request uint64, e *protocol.SubscribedEvent) {
	positions, theirs := allPositions(e.Position, e.Positions), span{}
	if !s.pattern {
		theirs = l.theirs(s.channel, firstOf(positions))
	}
	s.mu.Lock()
	if s.request != request {
		s.mu.Unlock()
		return
	}
	u := Update{
		Kind: KindSubscribed, Channel: s.channel, Positions: positions,
		Resumed: s.started || e.Resumed || s.opts.Position != "" || len(s.opts.Positions) > 0, Recovered: e.Recovered, Reason: e.Reason,
	}
	if s.phase == phaseRequested {
		s.beginLocked(l, u, theirs)
		s.mu.Unlock()
		s.client.meets(l, s)
		if s.opts.Durable {
			s.sendAck()
		}
		return
	}
	phase, kept, given := s.phase, s.opts.Durable && s.err != nil, !s.started
	s.mu.Unlock()
	if kept {
		s.leave(l)
		return
	}
	// Nobody wants it any more, or not now.
	l.began(s, u.Positions)
	switch {
	case phase != phaseEnded:
		s.letGoFor(l)
	case given:
		s.client.givenUp(l, s)
	default:
		s.letGo(l)
	}
}

func (s *Subscription) beginLocked(l *link, u Update, theirs span) {
	s.phase, s.link, s.failures, s.cleared = phaseLive, l, 0, nil
	if !u.Recovered {
		s.seen.forget("")
	}
	if theirs.to > theirs.from {
		s.seen.began(s.channel, theirs)
	}
	l.began(s, u.Positions)
	s.whole = s.whole || !s.opts.asksHistory()
	if s.opts.Durable {
		s.acks.begunLocked(!u.Recovered, firstOf(u.Positions))
		if s.behind = nil; u.Recovered && s.started && ahead(s.received.one, firstOf(u.Positions)) {
			u.Positions = s.received.list() // what comes again is left out
		}
	}
	if !s.started {
		s.started = true
		s.taken.apply(&u) // also for an application that takes nothing yet
		close(s.began)
	}
	_ = s.deliverLocked(u) // it is no message
}

func firstOf(positions []string) string {
	if len(positions) == 0 {
		return ""
	}
	return positions[0]
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
	if s.request != request {
		s.mu.Unlock()
		return
	}
	if s.phase != phaseRequested {
		s.released = true
		ended, held := s.phase == phaseEnded, s.held
		s.mu.Unlock()
		if ended {
			s.client.remove(s)
		}
		held.resume(s.client)
		return
	}
	if !err.Temporary && !err.Code.Resubscribe() {
		s.mu.Unlock()
		s.fail(err)
		return
	}
	if s.cleared != nil { // others may begin before it is asked for again
		s.cleared.dropped(s.channel)
	}
	s.phase, s.link, s.cleared = phaseIdle, nil, nil
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
	s.client.part(s) // what it has had may be dropped yet
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
		case s.phase != phaseLive || s.link != l || l.isOver():
			if u.Kind == KindMessage && s.phase == phaseEnded {
				s.seen.skipped(u.Message) // to be told by others: see link.theirs
			}
			s.mu.Unlock()
			return
		case s.behind == l:
			s.mu.Unlock()
			return // what follows on a hole comes again
		case !s.buffer.full() || passing(u.Kind) || s.repeats(&u):
			late := s.deliverLocked(u)
			s.mu.Unlock()
			if late {
				s.client.tooLate(l, s, &u)
			}
			if s.opts.Durable {
				s.sendAck() // one may have waited for it
			}
			return
		}
		s.mu.Unlock()
		switch {
		case s.waitForRoom(l):
		case s.opts.Durable:
			s.letBehind(l)
			return
		default:
			s.client.hold(l, s)
			return
		}
	}
}

// deliverLocked puts u into the buffer, unless it came before, or comes too late: after a
// message that follows on it, though it is not known to have come.
func (s *Subscription) deliverLocked(u Update) (late bool) {
	if s.opts.Durable && u.Kind != KindSubscribed {
		s.acks.note(&u)
	}
	switch {
	case u.Kind == KindCaughtUp:
		s.whole = true
	case u.Kind == KindMessage:
		if s.repeats(&u) {
			return !s.seen.had(u.Message)
		}
		s.noteLocked(&u)
		if s.opts.Durable {
			u.Message = new(*u.Message) // other subscriptions may have it
			u.Message.life = s.acks.life
		}
	case u.Kind == KindGap && u.Channel == s.channel:
		s.seen.forget("")
		s.moved(u.Positions)
		if u.Reason == protocol.ReasonLogChanged {
			s.acks.forget() // offsets begin anew
		}
	case u.Kind == KindGap:
		s.seen.forget(u.Channel)
	}
	u.life = s.acks.life
	s.received.apply(&u)
	s.buffer.push(u)
	if s.opts.callbacks() {
		s.client.calls.add(s)
	} else {
		notify(s.avail)
	}
	return false
}

// repeats reports whether u is a message that came before. s.mu is held.
func (s *Subscription) repeats(u *Update) bool {
	return u.Kind == KindMessage && (s.seen.had(u.Message) || s.seen.has(u.Message))
}

func (s *Subscription) noteLocked(u *Update) {
	s.seen.note(u.Message, s.here.in(u.Message.Position), s.lives.n, func(life int) bool {
		return !s.pattern || s.lives.owned(s.channel, u.Message.Channel, life)
	})
}

// waitForRoom reports whether the application took something in time.
func (s *Subscription) waitForRoom(l *link) bool {
	wait, lost := mostBlocked, l.lost
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
			return false
		case <-l.over:
			return true
		case <-lost: // the next one waits
			lost = nil
			timer.Reset(mostBlockedReply)
		case <-s.done:
			return true
		case <-l.urge:
			if l.awaited() && lost != nil {
				timer.Reset(mostBlockedReply)
			}
		}
	}
}
