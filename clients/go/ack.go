package rivulet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/rivulet-rt/rivulet/protocol"
)

// errBehind ends a connection whose durable subscription let messages go because the
// application was slow: they come again with the next one.
var errBehind = errors.New("a durable subscription had no room for what came; it reads that again")

// errVoid ends a Flush whose acknowledgements mean nothing any more.
var errVoid = errors.New("the session was reset or the log changed: what was acknowledged comes again, or is gone")

// acks are a durable subscription's acknowledgements. One is under way at a time; the
// next takes along whatever was acknowledged meanwhile. Guarded by Subscription.mu.
type acks struct {
	// life counts, from 1, how often places from before ceased to mean anything. What was
	// delivered in an earlier one is not acknowledged: that would undo a reset.
	life     uint64
	handed   string        // the position of what the application got last, in this life
	want     string        // to be acknowledged
	sent     string        // under way, or answered
	taken    string        // what the node has on this link
	busy     *link         // where one is under way
	id       uint64        // of that command
	failures int           // acknowledgements refused in a row
	came     start         // up to where this link has brought messages: no more may be acknowledged
	failed   *Error        // why sent was refused
	moved    chan struct{} // closed and replaced when something of this changes; made by Flush
}

// Ack acknowledges m, and every message of the channel before it: none of them is
// delivered again, whatever becomes of this process. It does not wait; see Flush. Only
// a durable subscription is acknowledged. Of a message that was delivered before the
// session was reset, or the log changed, it does nothing.
func (s *Subscription) Ack(m *Message) error {
	if !s.opts.Durable {
		return invalid("durable", "the subscription is not durable, so there is nothing to acknowledge")
	}
	s.acknowledge(m.Position, m.life)
	return nil
}

// acknowledge takes a position of a life; 0 is one that the application made itself.
func (s *Subscription) acknowledge(position string, life uint64) {
	s.mu.Lock()
	if life != 0 && life != s.acks.life || !later(position, s.acks.want) {
		s.mu.Unlock()
		return
	}
	s.acks.want = position
	s.mu.Unlock()
	s.sendAck()
}

// later reports whether an acknowledgement of a says more than one of b, or something
// else: of another log, or of another epoch of it, in which offsets began anew.
func later(a, b string) bool {
	x, ok := protocol.PositionOffset(a)
	y, known := protocol.PositionOffset(b)
	return ok && (!known || x > y || logOf(a) != logOf(b))
}

// ahead is later for what was received, which is told apart by streams alone.
func ahead(a, b string) bool {
	return later(a, b) && (protocol.StreamKey(a) != protocol.StreamKey(b) || !covers(b, a))
}

// covers reports whether a is a position at or after the offset of b.
func covers(a, b string) bool {
	x, ok := protocol.PositionOffset(a)
	y, known := protocol.PositionOffset(b)
	return ok && known && x >= y
}

// sendAck sends what is to be acknowledged, unless an answer is still to come.
func (s *Subscription) sendAck() {
	s.mu.Lock()
	l, a := s.link, &s.acks
	if s.phase != phaseLive || a.busy == l || a.want == "" || a.want == a.sent || !a.covered(a.want) {
		s.mu.Unlock()
		return
	}
	position, life := a.want, a.life
	a.sent, a.busy, a.failed = position, l, nil
	id := l.expect(func(e *protocol.Event) { s.ackAnswered(l, position, life, e) })
	if a.id = id; a.moved == nil {
		l.unhurried(id)
	}
	s.mu.Unlock()
	// If it does not go out the link is gone, and the next one sends it again.
	_, _ = l.send(nil, &protocol.Command{ID: id, Ack: &protocol.AckCommand{Channel: s.channel, Position: position}})
}

func (s *Subscription) ackAnswered(l *link, position string, life uint64, e *protocol.Event) {
	s.mu.Lock()
	if a := &s.acks; a.busy == l && a.id == e.ID { // not of one before it began anew on l
		a.busy = nil
		switch {
		case a.life != life: // its answer says nothing of what is wanted now
		case e.Error != nil:
			a.failed = errorFrom(e.Error)
			a.failures++
		default:
			a.taken, a.failures = position, 0
		}
		if a.failed != nil && a.failed.Temporary {
			wait := s.client.opts.Backoff.wait(a.failures, a.failed.RetryAfter)
			defer s.client.after(wait, func() { s.ackAgain(position) })
		}
		a.stir()
	}
	s.mu.Unlock()
	if e.Error != nil {
		s.client.opts.Logger.Warn("node refuses an acknowledgement", slog.String("channel", s.channel),
			slog.String("position", position), slog.Int("code", int(e.Error.Code)), slog.String("message", e.Error.Message))
	}
	s.sendAck()
}

// ackAgain sends an acknowledgement that was refused for a while, if it is still the last.
func (s *Subscription) ackAgain(position string) {
	s.mu.Lock()
	if a := &s.acks; a.failed != nil && a.busy == nil && a.sent == position {
		a.sent = ""
	}
	s.mu.Unlock()
	s.sendAck()
}

// covered reports whether this link has brought what a position says. The node refuses an
// acknowledgement of more (clause P-12.6); what was not acknowledged comes again.
func (a *acks) covered(position string) bool {
	offset, ok := protocol.PositionOffset(position)
	return ok && a.came.log == logOf(position) && offset <= a.came.offset
}

// note notes what the link has brought.
func (a *acks) note(u *Update) {
	if u.Kind == KindMessage {
		a.reach(u.Message.Position, u.Message.Offset)
		return
	}
	for _, p := range u.Positions {
		a.reach(p, 0)
	}
}

// reach notes a position, or an offset of its log, that lies behind it.
func (a *acks) reach(position string, offset uint64) {
	at, ok := protocol.PositionOffset(position)
	if !ok {
		return
	}
	if log := logOf(position); log != a.came.log {
		a.came = start{log: log}
	}
	a.came.offset = max(a.came.offset, at, offset)
}

// stir wakes who flushes.
func (a *acks) stir() {
	if a.moved != nil {
		close(a.moved)
		a.moved = nil
	}
}

// begunLocked has acknowledgements begin anew on a new link, where it begins at the
// position: what was under way may be lost. anew says that positions from before mean
// nothing.
func (a *acks) begunLocked(anew bool, position string) {
	a.busy, a.sent, a.taken, a.failed, a.came = nil, "", "", nil, start{}
	a.reach(position, 0)
	if anew || a.life == 0 {
		a.forget()
	}
	a.stir()
}

// forget begins a life: no position from before means anything. One that is under way
// keeps its turn.
func (a *acks) forget() {
	a.life++
	a.want, a.handed, a.sent, a.taken, a.failed = "", "", "", "", nil
	a.stir()
}

// Flush waits until the node has taken every acknowledgement made so far: by Ack, or by
// asking for the message after. The node writes them down within seconds, and when the
// connection ends. The error is an *Error where the node refuses one, which is sent again
// with the next Flush; or says that the session was reset meanwhile, ctx's, or that the
// subscription has ended.
func (s *Subscription) Flush(ctx context.Context) error {
	s.mu.Lock()
	a := &s.acks
	want, life := a.want, a.life
	if a.failed != nil && a.busy == nil {
		a.sent, a.failed = "", nil
	}
	s.mu.Unlock()
	s.sendAck()
	for {
		s.mu.Lock()
		var err error
		switch {
		case want == "" || a.life == life && a.taken != "" && (a.taken == a.want || covers(a.taken, want)):
			s.mu.Unlock()
			return nil
		case a.life != life:
			err = errVoid
		case a.failed != nil && a.sent == a.want:
			err = a.failed
		case s.phase == phaseEnded:
			err = fmt.Errorf("the subscription has ended: %w", errors.Join(s.err, errLost))
		case a.moved == nil:
			a.moved = make(chan struct{})
		}
		moved, busy, id := a.moved, a.busy, a.id
		s.mu.Unlock()
		if busy != nil {
			busy.hurry(id)
		}
		if err != nil {
			return doing(err, "flush %s", s.channel)
		}
		select {
		case <-moved:
		case <-s.done:
		case <-ctx.Done():
			return doing(ctx.Err(), "flush %s", s.channel)
		}
	}
}

// asksForMore acknowledges what the application had, where it does that by asking.
func (s *Subscription) asksForMore() {
	if !s.opts.Durable || s.opts.ManualAck {
		return
	}
	s.mu.Lock()
	handed, life := s.acks.handed, s.acks.life
	s.mu.Unlock()
	if handed != "" {
		s.acknowledge(handed, life)
	}
}

// catchUp reconnects a durable subscription that let messages go, when it has room.
func (s *Subscription) catchUp() {
	s.mu.Lock()
	l := s.behind
	if l == nil || !s.buffer.low() {
		s.mu.Unlock()
		return
	}
	s.behind = nil
	s.mu.Unlock()
	l.close(errBehind)
}
