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

// acks are a durable subscription's acknowledgements. One is under way at a time; the
// next takes along whatever was acknowledged meanwhile. Guarded by Subscription.mu.
type acks struct {
	handed string        // the position of what the application got last
	want   string        // to be acknowledged
	sent   string        // under way, or answered
	busy   *link         // where one is under way
	moved  chan struct{} // closed and replaced when an answer comes; made by Flush
}

// Ack acknowledges m, and every message of the channel before it: none of them is
// delivered again, whatever becomes of this process. It does not wait; see Flush. Only
// a durable subscription is acknowledged.
func (s *Subscription) Ack(m *Message) error {
	if !s.opts.Durable {
		return invalid("durable", "the subscription is not durable, so there is nothing to acknowledge")
	}
	s.acknowledge(m.Position)
	return nil
}

func (s *Subscription) acknowledge(position string) {
	s.mu.Lock()
	if !later(position, s.acks.want) {
		s.mu.Unlock()
		return
	}
	s.acks.want = position
	s.mu.Unlock()
	s.sendAck()
}

// later reports whether an acknowledgement of a says more than one of b, or something
// else, of another log.
func later(a, b string) bool {
	x, ok := protocol.PositionOffset(a)
	y, known := protocol.PositionOffset(b)
	return ok && (!known || x > y || protocol.StreamKey(a) != protocol.StreamKey(b))
}

// sendAck sends what is to be acknowledged, unless an answer is still to come.
func (s *Subscription) sendAck() {
	s.mu.Lock()
	l, a := s.link, &s.acks
	if s.phase != phaseLive || a.busy == l || a.want == "" || a.want == a.sent {
		s.mu.Unlock()
		return
	}
	position := a.want
	a.sent, a.busy = position, l
	s.mu.Unlock()
	id := l.expect(func(e *protocol.Event) { s.ackAnswered(l, position, e) })
	// If it does not go out the link is gone, and the next one sends it again.
	_, _ = l.send(nil, &protocol.Command{ID: id, Ack: &protocol.AckCommand{Channel: s.channel, Position: position}})
}

func (s *Subscription) ackAnswered(l *link, position string, e *protocol.Event) {
	s.mu.Lock()
	if s.acks.busy == l {
		s.acks.busy = nil
	}
	if s.acks.moved != nil {
		close(s.acks.moved)
		s.acks.moved = nil
	}
	s.mu.Unlock()
	if e.Error != nil {
		s.client.opts.Logger.Warn("node refuses an acknowledgement", slog.String("channel", s.channel),
			slog.String("position", position), slog.Int("code", int(e.Error.Code)), slog.String("message", e.Error.Message))
	}
	s.sendAck()
}

// begunLocked has acknowledgements begin anew on a new link: what was under way may
// be lost. anew says that positions from before mean nothing.
func (a *acks) begunLocked(anew bool) {
	a.busy, a.sent = nil, ""
	if anew {
		a.want, a.handed = "", ""
	}
}

// Flush waits until the node has taken every acknowledgement made so far: by Ack, or by
// asking for the message after. The node writes them down within seconds, and when the
// connection ends.
func (s *Subscription) Flush(ctx context.Context) error {
	for {
		s.mu.Lock()
		a := &s.acks
		if a.want == "" || a.want == a.sent && a.busy == nil {
			s.mu.Unlock()
			return nil
		}
		if s.phase == phaseEnded {
			s.mu.Unlock()
			return fmt.Errorf("rivulet: flush %s: the subscription has ended: %w", s.channel, errors.Join(s.Err(), errLost))
		}
		if a.moved == nil {
			a.moved = make(chan struct{})
		}
		moved := a.moved
		s.mu.Unlock()
		select {
		case <-moved:
		case <-s.done:
		case <-ctx.Done():
			return fmt.Errorf("rivulet: flush %s: %w", s.channel, ctx.Err())
		}
	}
}

// asksForMore acknowledges what the application had, where it does that by asking.
func (s *Subscription) asksForMore() {
	if !s.opts.Durable || s.opts.ManualAck {
		return
	}
	s.mu.Lock()
	handed := s.acks.handed
	s.mu.Unlock()
	if handed != "" {
		s.acknowledge(handed)
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
