package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// command is one row of the table of commands.
type command struct {
	name   string
	open   bool // it needs no claims
	handle func(ctx context.Context, s *Session, cmd *protocol.Command) error
}

func commandNames() []string {
	return []string{"connect", "subscribe", "unsubscribe", "publish", "ack", "nak", "in_progress", "history", "presence", "refresh", "ping", "pong"}
}

// of picks the row of the one command that cmd holds.
func of(cmd *protocol.Command) command {
	switch {
	case cmd.Connect != nil:
		return command{"connect", true, connect}
	case cmd.Subscribe != nil:
		return command{"subscribe", false, subscribe}
	case cmd.Unsubscribe != nil:
		return command{"unsubscribe", false, unsubscribe}
	case cmd.Publish != nil:
		return command{"publish", false, publish}
	case cmd.Ack != nil:
		return command{"ack", false, ack}
	case cmd.Nak != nil:
		return command{"nak", false, nak}
	case cmd.InProgress != nil:
		return command{"in_progress", false, inProgress}
	case cmd.History != nil:
		return command{"history", false, history}
	case cmd.Presence != nil:
		return command{"presence", false, presence}
	case cmd.Refresh != nil:
		return command{"refresh", false, refresh}
	case cmd.Ping != nil:
		return command{"ping", true, ping}
	default:
		return command{"pong", true, pong}
	}
}

// Handle does one command. The transport calls it from its reading goroutine, one
// command at a time, and does not read on before it returns: it waits while the
// client has not taken its replies, or has too many publishes under way. ctx is
// the registry's, for what goes on after Handle.
func (s *Session) Handle(ctx context.Context, cmd *protocol.Command) {
	c := of(cmd)
	s.registry.metrics.commands.WithLabelValues(c.name).Inc()
	if !s.mayHandle(cmd) {
		return
	}
	if !c.open {
		if !s.ready.Load() {
			s.reply(cmd.ID, errNotConnected)
			return
		}
		if end := s.expires.Load(); end != 0 && time.Now().UnixNano() >= end { // before the sweeper has seen it
			s.Disconnect(disconnect(protocol.CloseTokenExpired))
			return
		}
		s.opened = true
	}
	if err := c.handle(ctx, s, cmd); err != nil {
		if isAnswer(cmd) {
			s.debt().vain(err)
		}
		s.reply(cmd.ID, err)
	}
}

// mayHandle counts a command, and reports whether to do it.
func (s *Session) mayHandle(cmd *protocol.Command) bool {
	if isAnswer(cmd) {
		return s.mayAnswer(cmd)
	}
	cost := costOf(cmd)
	if cmd.Publish != nil {
		cost += s.pubs.owes()
	}
	return s.count(cmd.ID, cost)
}

// Refuse answers a command that could not be read; with ID 0 it was none, and the
// connection is closed.
func (s *Session) Refuse(id uint64, err error) {
	if id != 0 {
		s.reply(id, err)
		return
	}
	ev := ErrorEvent(err)
	s.Reject(protocol.CloseBadFrame, ev.Field+": "+ev.Message)
}

func (s *Session) connected(id uint64) *protocol.Event {
	ev := &protocol.ConnectedEvent{
		Client: s.ID(), Node: s.registry.cfg.Node, PingInterval: int(max(time.Second, s.registry.cfg.PingInterval) / time.Second),
	}
	if d := s.durable.Load(); d != nil {
		ev.Session = d.id.Name
	}
	if s.registry.cfg.MaxFrame != protocol.DefaultMaxFrame {
		ev.MaxFrame = s.registry.cfg.MaxFrame
	}
	if end := s.expires.Load(); end != 0 {
		ev.ExpiresInMS = max(1, (end-time.Now().UnixNano())/int64(time.Millisecond))
	}
	return &protocol.Event{ID: id, Connected: ev}
}

// connect authenticates. A token that is no good ends the connection, after the
// error: the client would only have to close it.
func connect(ctx context.Context, s *Session, cmd *protocol.Command) error {
	c := cmd.Connect
	if s.opened {
		return refuse(protocol.ErrorConflict, "", "already connected; use refresh for a new token")
	}
	for field, v := range map[string]string{"name": c.Name, "version": c.Version} {
		if len(v) > protocol.MaxClientNameBytes {
			return BadRequest(field, "has %d bytes, at most %d are allowed", len(v), protocol.MaxClientNameBytes)
		}
	}
	claims, given := s.claimed(), c.Token != "" || !s.ready.Load()
	if given {
		var err error
		if claims, err = s.registry.authenticate(ctx, c.Token, s.called(c)); err != nil {
			s.refuse(cmd.ID, ReadErrorEvent(err), err) // there is no message to be told of
			if code, ends := closeCode(err); ends {
				s.Disconnect(disconnect(code))
			}
			return nil
		}
		if err := s.slot.countAs(claims.Subject); err != nil {
			return err
		}
	}
	resumed := false
	if c.Session != "" { // before the rest: where it fails, nothing has changed, and connect may come again
		var err error
		if resumed, err = s.takeDurable(ctx, claims, c.Session); err != nil {
			return err
		}
	}
	if given {
		s.supersede(claims)
	}
	ev := s.connected(cmd.ID)
	ev.Connected.Resumed = resumed
	s.opened = true
	s.push(ev)
	s.subscribeNamed(claims.Channels) // none, unless they are new
	return nil
}

// supersede takes claims in place of those of the handshake, whose channels may have
// been subscribed to already.
func (s *Session) supersede(claims auth.Claims) {
	defer s.exclude()()
	before, had := s.claimed(), s.ready.Load()
	s.admit(claims)
	switch {
	case !had:
	case before.Publisher() != claims.Publisher():
		if s.hooked != nil {
			clear(s.hooked.waiting) // a hook that allows the one does not allow the other
		}
		s.revokeUnallowed(auth.Claims{}) // another user's subscriptions are none of this one's
	default:
		s.revokeUnallowed(claims)
	}
}

// closeCode is the end that a failed authentication brings; a fault of the node
// brings none.
func closeCode(err error) (code protocol.Code, ends bool) {
	switch {
	case errors.Is(err, auth.ErrExpired):
		return protocol.CloseTokenExpired, true
	case errors.Is(err, auth.ErrInvalid), errors.Is(err, auth.ErrMissing), denied(err):
		return protocol.CloseUnauthorized, true
	case errors.Is(err, auth.ErrRevoked):
		return protocol.CloseRevoked, true
	}
	return 0, false
}

// refresh takes a new token of the same subject, and ends the subscriptions that
// it does not allow. When it fails, the old token holds.
func refresh(ctx context.Context, s *Session, cmd *protocol.Command) error {
	if cmd.Refresh.Token == "" {
		return BadRequest("token", "is missing")
	}
	claims, err := s.registry.authenticate(ctx, cmd.Refresh.Token, s.peer())
	if err != nil {
		s.refuse(cmd.ID, ReadErrorEvent(err), err)
		return nil
	}
	old := s.claimed()
	if claims.Publisher() != old.Publisher() {
		return Forbidden("token", "is of another subject; open another connection for it")
	}
	release := s.exclude()
	s.admit(claims)
	s.push(s.connected(cmd.ID))
	s.revokeUnallowed(claims)
	release()
	s.subscribeNamed(claims.Channels)
	return nil
}

// revokeUnallowed ends what the claims do not cover: memberships of groups, and
// subscriptions, of which a NoticeUnsubscribed of no token follows, which answer turns into
// a revocation.
func (s *Session) revokeUnallowed(claims auth.Claims) {
	// One time for all: a subscription token that ends between two looks is the sweeper's.
	now := time.Now()
	s.leaveGroups(&claims, now)
	s.mu.Lock()
	client := s.client
	var gone []fanout.Channel
	s.subs = slices.DeleteFunc(s.subs, func(j joined) bool {
		if s.seatLocked(j.token) != nil {
			return false // a membership, which has no client of the hub
		}
		allows := func(a auth.Action) bool {
			return claims.Allows(a, j.channel.String()) || s.grantedLocked(a, j.channel, j.token, now)
		}
		if allows(auth.Subscribe) && (j.token&watching == 0 || allows(auth.Presence)) {
			return false
		}
		gone = append(gone, j.channel)
		return true
	})
	s.pruneLocked()
	s.mu.Unlock()
	for _, c := range gone {
		_ = client.Unsubscribe(0, c) // fails if it has ended by itself meanwhile, which a notice tells
	}
}

// ParseSubscribe checks the fields of a subscribe command.
func ParseSubscribe(cmd *protocol.SubscribeCommand) (fanout.SubscribeRequest, error) {
	var req fanout.SubscribeRequest
	c, err := fanout.ParsePattern(cmd.Channel)
	if err != nil {
		return req, err
	}
	req.Channel = c
	given := 0
	for _, set := range []bool{cmd.Position != "", len(cmd.Positions) > 0, cmd.Last != 0, cmd.Since != 0} {
		if set {
			given++
		}
	}
	switch {
	case given > 1:
		return req, BadRequest("position", "give at most one of position, positions, last and since")
	case cmd.Last < 0 || cmd.Last > fanout.MaxLast:
		return req, BadRequest("last", "is %d, must be from 1 to %d", cmd.Last, fanout.MaxLast)
	case cmd.Since < 0 || cmd.Since > maxMillis:
		return req, BadRequest("since", "is %d, must be a Unix time in milliseconds", cmd.Since)
	case len(cmd.Positions) > protocol.MaxPositions:
		return req, BadRequest("positions", "are %d, at most %d are allowed", len(cmd.Positions), protocol.MaxPositions)
	}
	list := cmd.Positions
	if cmd.Position != "" {
		list = []string{cmd.Position}
	}
	req.Presence = cmd.Presence
	req.Start.Last = cmd.Last
	req.Start.Since = cmd.Since * int64(time.Millisecond)
	if len(list) > 0 {
		req.Start.Positions, err = fanout.ParsePositions(list)
	}
	return req, err
}

// maxMillis is the last Unix time in milliseconds that nanoseconds can hold.
const maxMillis = (1<<63 - 1) / int64(time.Millisecond)

func unsubscribe(ctx context.Context, s *Session, cmd *protocol.Command) error {
	c, err := fanout.ParsePattern(cmd.Unsubscribe.Channel)
	if err != nil {
		return err
	}
	if st := s.seatOf(c); st != nil {
		s.leaveGroup(cmd.ID, st, protocol.UnsubscribedEvent{})
		return nil
	}
	waited := s.unask(c)
	defer s.excludeDurable()() // one that a hook has allowed may just be getting its place
	kept, err := s.endDurable(ctx, c)
	if err != nil {
		return err
	}
	client := s.subscriber()
	if _, here := s.joined(c); !here && (waited || kept) { // or it was subscribed in an earlier connection
		s.unsubscribeInVain(cmd.ID, c)
		return nil
	}
	if client == nil {
		return fanout.ErrNotSubscribed
	}
	token := s.ask(cmd.ID)
	s.forget(c, 0) // before the hub is asked: its answer may come after a new subscribe
	if err := client.Unsubscribe(token, c); err != nil {
		s.answered(token)
		return err
	}
	return nil
}

// unsubscribeInVain answers an unsubscribe from what has not begun on this connection, behind
// all that an earlier subscription still delivers, whose end the hub may not have come to.
func (s *Session) unsubscribeInVain(id uint64, c fanout.Channel) {
	if hub, ok := s.subscriber().(checker); ok && s.mayAsk() {
		s.mu.Lock()
		token := s.askLocked(id, vain)
		s.mu.Unlock()
		hub.Check(token, c, fanout.Position{}, "")
		return
	}
	s.push(&protocol.Event{ID: id, Unsubscribed: &protocol.UnsubscribedEvent{Channel: c.String()}})
}

func publish(ctx context.Context, s *Session, cmd *protocol.Command) error {
	err := s.publish(ctx, cmd.ID, cmd.Publish)
	if err != nil {
		s.queue().refused()
	}
	return err
}

func ping(_ context.Context, s *Session, cmd *protocol.Command) error {
	s.push(&protocol.Event{ID: cmd.ID, Pong: &protocol.Pong{}})
	return nil
}

func pong(context.Context, *Session, *protocol.Command) error { return nil }
