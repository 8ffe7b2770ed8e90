package session

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// Await lets a handshake in, at once or when its turn comes, or says why not: an
// *limit.Error, or the request's own where the client has gone. Transports call it before
// anything that costs more than reading the request.
func (r *Registry) Await(req *http.Request) error {
	if r.services.Limits == nil {
		return nil
	}
	return r.services.Limits.Handshake(req.Context(), ClientAddr(req), resumes(req))
}

// resumes reports whether a handshake shows that the client was here before: it names a
// position (an event stream's Last-Event-ID, a poll's position), or says so by resume=1.
// Anybody may say it; all that it gives is an earlier place in the queue.
func resumes(req *http.Request) bool {
	if req.Header.Get("Last-Event-ID") != "" {
		return true
	}
	if req.URL.RawQuery == "" {
		return false
	}
	query := req.URL.Query()
	return query.Get("position") != "" || query.Get("resume") == "1"
}

// AdmitFrom is Admit for a client that is counted: by its address, and by its user where
// the handshake told it. Errors are also *limit.Error.
func (r *Registry) AdmitFrom(t Transport, req *http.Request, user string) (*Slot, error) {
	slot, err := r.Admit(t)
	if err != nil || r.services.Limits == nil {
		return slot, err
	}
	if addr := ClientAddr(req); addr.IsValid() {
		slot.addr, slot.known = addr.As16(), true
	}
	if err := slot.count(user); err != nil {
		slot.Release()
		r.metrics.rejected.WithLabelValues("limit").Inc()
		return nil, err
	}
	return slot, nil
}

// Addr is the client's address; zero where it is not known, or nothing is limited.
func (s *Slot) Addr() netip.Addr {
	if s == nil || !s.known {
		return netip.Addr{}
	}
	return netip.AddrFrom16(s.addr).Unmap()
}

// count counts the connection as one of its address's and of the user's.
func (s *Slot) count(user string) error {
	l := s.registry.services.Limits
	if err := l.AddAddress(s.Addr()); err != nil {
		return err
	}
	if err := l.AddUser(user); err != nil {
		l.RemoveAddress(s.Addr())
		return err
	}
	s.user, s.counted = user, true
	return nil
}

// countAs counts the connection as one of a user's, whom the handshake did not tell.
func (s *Slot) countAs(user string) error {
	if s == nil || !s.counted || s.user == user {
		return nil
	}
	l := s.registry.services.Limits
	if err := l.AddUser(user); err != nil {
		return err
	}
	l.RemoveUser(s.user)
	s.user = user
	return nil
}

// uncount takes back what count and countAs did.
func (s *Slot) uncount() {
	if !s.counted {
		return
	}
	s.registry.services.Limits.RemoveAddress(s.Addr())
	s.registry.services.Limits.RemoveUser(s.user)
}

// shedLeast and shedReturn are how many connections are closed at least when memory is
// short, and over what time at least they are told to come back.
const (
	shedLeast  = 10
	shedReturn = 15 * time.Second
)

// shedNewest closes one in part of the connections, the newest, and returns how many.
func (r *Registry) shedNewest(part int) int {
	type aged interface {
		Member
		Born() int64
	}
	var list []aged
	for _, m := range r.members() {
		if a, ok := m.(aged); ok {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b aged) int { return cmp.Compare(b.Born(), a.Born()) })
	list = list[:min(len(list), max(shedLeast, len(list)/part))]
	window := max(shedReturn, time.Duration(len(list))*returnPace)
	for _, m := range list {
		ev := disconnect(protocol.CloseOverloaded)
		ev.RetryAfterMS = (window/4 + rand.N(window)).Milliseconds()
		m.Disconnect(ev)
	}
	return len(list)
}

// Born is when the connection began, in Unix nanoseconds.
func (s *Session) Born() int64 { return s.born }

// Costs of commands, in limit.CommandCost.
const (
	// messageCost is that of each message which a history asks for, or which is stored:
	// publishes have limits of their own, which none that is lower shall stand before.
	messageCost = limit.CommandCost / 50
)

// costOf a command, so that one that makes the node work counts for more.
func costOf(cmd *protocol.Command) int64 {
	switch {
	case cmd.Ack != nil, cmd.Nak != nil:
		return answerCost
	case cmd.InProgress != nil:
		return progressCost
	case cmd.Pong != nil:
		return pongCost
	case cmd.Publish != nil:
		return messageCost
	case cmd.History != nil:
		return limit.CommandCost + int64(clampHistory(cmd.History.Limit))*messageCost
	case cmd.Subscribe != nil && cmd.Subscribe.Last > 0:
		return limit.CommandCost + int64(clampHistory(cmd.Subscribe.Last))*messageCost
	case cmd.Subscribe != nil && cmd.Subscribe.Since > 0:
		return limit.CommandCost + fanout.MaxLast*messageCost
	}
	return limit.CommandCost
}

// backlog is how many stored messages a subscription reads, as far as that can be said
// before; of what is missed since a position or a time, Replays count each.
func backlog(start fanout.Start) int {
	switch {
	case start.Last > 0:
		return start.Last
	case start.Since > 0:
		return fanout.MaxLast
	}
	return 0
}

// MayRead holds who subscribes to what one may read: an event stream or a poll.
func (r *Registry) MayRead(ctx context.Context, claims auth.Claims, addr netip.Addr, req fanout.SubscribeRequest) error {
	return r.services.Limits.Read(ctx, claims.Publisher(), addr, "", backlog(req.Start))
}

// Answers pace the polls of a caller.
func (r *Registry) Answers(claims auth.Claims, addr netip.Addr) *limit.Answers {
	return r.services.Limits.NewAnswers(claims.Publisher(), addr, claims.Limits.OutboundBytes)
}

// mayRead holds the session to what its holder may read: n stored messages.
func (s *Session) mayRead(ctx context.Context, n int) error {
	return s.registry.services.Limits.Read(ctx, s.claimed().Publisher(), s.slot.Addr(), s.ID(), n)
}

// HasRead charges who was given n messages after positions, once MayRead let it begin.
func (r *Registry) HasRead(claims auth.Claims, addr netip.Addr, n int) {
	r.services.Limits.HasRead(claims.Publisher(), addr, n)
}

func clampHistory(n int) int {
	if n == 0 {
		n = protocol.DefaultHistory
	}
	return min(max(n, 0), fanout.MaxLast)
}

// Frame counts a frame that is no command, a ping or pong of the transport or something
// that cannot be read, and reports whether to go on with it. A client that sends far too
// many is closed.
func (s *Session) Frame() bool { return s.count(0, limit.CommandCost) }

// Flooded reports whether the client was closed because of Frame, or of its commands.
func (s *Session) Flooded() bool { return s.flooded }

// count counts what the client sends. It answers the command id, unless 0, where it is
// too much.
func (s *Session) count(id uint64, cost int64) bool {
	stranger := !s.ready.Load()
	verdict, retry := s.registry.services.Limits.Command(&s.meter, int(s.tight), stranger, cost)
	switch verdict {
	case limit.Pass:
		return true
	case limit.Close:
		s.flooded = true
		if s.out.Open() && !stranger { // or anybody could keep all others of an address out
			s.registry.services.Limits.Bar(s.claimed().Subject, s.slot.Addr())
		}
		s.Reject(protocol.CloseTooMany, "too many commands; after 4429 wait for retry_after_ms")
	case limit.Refuse:
		if id != 0 {
			s.reply(id, &limit.Error{
				Reason: limit.ReasonCommands, RetryAfter: retry,
				Problem: "this connection sends too many commands (limits.commands, or its token's own); nothing was done, send it again after retry_after_ms",
			})
		}
	}
	return false
}

// tighten holds the session to what its token allows, from now on.
func (s *Session) tighten(l auth.Limits) {
	s.tight = int32(min(l.Commands, 1<<30))
	old := s.pacer.Load()
	if old == nil && l.OutboundBytes == 0 && s.registry.services.Limits == nil {
		return
	}
	next := s.registry.services.Limits.Repace(old, l.OutboundBytes, s.Drained)
	if next == old {
		return
	}
	s.pacer.Store(next)
	if old != nil {
		old.Stop()
		s.Drained() // what the old one put off
	}
}

// deliver hands a frame to the buffer unless the connection has had as much as it may for
// now, and counts what is put off.
func (s *Session) deliver(frame []byte) bool {
	pacer := s.pacer.Load()
	if pacer == nil {
		if s.out.Deliver(frame) {
			return true
		}
	} else if pacer.Take(len(frame)) {
		if s.out.Deliver(frame) {
			return true
		}
		pacer.Give(len(frame))
	}
	s.registry.metrics.refused.Inc()
	return false
}

// limited is what an *limit.Error is to a client.
func limited(e *limit.Error) *protocol.ErrorEvent {
	code := protocol.ErrorTooManyRequests
	if e.Node {
		code = protocol.ErrorUnavailable
	}
	return &protocol.ErrorEvent{
		Code: code, Field: e.Field, Message: e.Problem, Temporary: true,
		RetryAfterMS: max(1, (e.RetryAfter + time.Millisecond - 1).Milliseconds()), // who comes earlier is refused again
	}
}
