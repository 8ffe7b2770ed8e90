package session

import (
	"context"
	"errors"
	"strings"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// checker is a Subscriber that can tell what it has delivered.
type checker interface {
	Check(token uint64, c fanout.Channel, at fanout.Position, field string)
}

// Users that are none of a token's: whoever has no name, and API keys.
const (
	Anonymous = "-"
	keyUser   = "key:"
)

// DurableUser is the user to whom the durable sessions of a caller belong: the token's
// subject; "key:" and the name of an API key; or Anonymous, who all callers without a
// name are together. A token whose subject looks like one of the others has none.
func DurableUser(claims auth.Claims) (string, error) {
	switch {
	case claims.Key != "":
		return keyUser + claims.Key, nil
	case claims.Subject == "":
		return Anonymous, nil
	case claims.Subject == Anonymous || strings.HasPrefix(claims.Subject, keyUser):
		return "", BadRequest("session", "the token's subject %.64q cannot have durable sessions: it must not be %q nor begin with %q",
			claims.Subject, Anonymous, keyUser)
	}
	return claims.Subject, nil
}

// CheckSessionName checks the name of a durable session.
func CheckSessionName(name string) error {
	if name == "" || len(name) > protocol.MaxSessionName {
		return BadRequest("session", "has %d bytes, must have 1 to %d", len(name), protocol.MaxSessionName)
	}
	for i := range len(name) {
		b := name[i]
		if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && !strings.ContainsRune("._-", rune(b)) {
			return BadRequest("session", "has the character %q; A-Z, a-z, 0-9, '.', '_' and '-' are allowed", rune(b))
		}
	}
	return nil
}

// takeDurable makes the connection the one of a durable session, that of who holds the claims.
func (s *Session) takeDurable(ctx context.Context, claims auth.Claims, name string) (resumed bool, err error) {
	if err := CheckSessionName(name); err != nil {
		return false, err
	}
	all := s.registry.durables
	if all == nil {
		return false, refuse(protocol.ErrorNotSupported, "session", "this node keeps no durable sessions")
	}
	user, err := DurableUser(claims)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.registry.cfg.CommandTimeout)
	defer cancel()
	d, resumed, err := all.take(ctx, s, fanout.SessionID{User: user, Name: name})
	if errors.Is(err, fanout.ErrDiskFull) {
		return false, refuse(protocol.ErrorUnavailable, "session", "the log has no room for more durable sessions; try again later, or connect without one")
	}
	s.durable.Store(d)
	return resumed, err
}

// startDurable makes a subscription one of the durable session: it begins at the
// session's place in the channel, which is made where there is none.
func (s *Session) startDurable(ctx context.Context, req *fanout.SubscribeRequest) (how durability, err error) {
	d := s.durable.Load()
	switch {
	case d == nil:
		return passing, BadRequest("durable", "needs a durable session; name one in connect: {\"connect\":{\"session\":\"phone-1\"}}")
	case req.Channel.IsPattern():
		return passing, BadRequest("durable", "%q is a pattern, and only a subscription to one channel can be durable; subscribe to its channels, or without durable", req.Channel)
	}
	ctx, cancel := context.WithTimeout(ctx, s.registry.cfg.CommandTimeout)
	defer cancel()
	k, resumed := d.place(req.Channel)
	how = continued
	if !resumed {
		if how = begun; len(req.Start.Positions) == 0 && req.Start.Last == 0 && req.Start.Since == 0 {
			how = begunLive
		}
		if k.Position, err = d.all.store.StartOf(ctx, req.Channel, req.Start); err != nil {
			return passing, err
		}
		if err := d.add(ctx, req.Channel, k.Position); err != nil {
			return passing, err
		}
	}
	if k.Position.IsZero() {
		k.Position = fanout.Nowhere()
	}
	req.Start = fanout.Start{Positions: []fanout.Position{k.Position}}
	return how, nil
}

// endDurable gives the session's place in a channel up; found says that it had one.
func (s *Session) endDurable(ctx context.Context, c fanout.Channel) (found bool, err error) {
	d := s.durable.Load()
	if d == nil {
		return false, nil
	}
	if _, found = d.place(c); !found {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.registry.cfg.CommandTimeout)
	defer cancel()
	return true, d.remove(ctx, c)
}

// ack acknowledges everything of a channel up to a message. Whether it was delivered is
// asked where the cursor is; the answer comes as a notice.
func ack(ctx context.Context, s *Session, cmd *protocol.Command) error {
	a := cmd.Ack
	if a.Token != "" {
		return ackToken(s, cmd)
	}
	if s.registry.durables == nil {
		return refuse(protocol.ErrorNotSupported, "", "ack is for durable sessions, which this node does not have")
	}
	c, err := fanout.ParseChannel(a.Channel)
	if err != nil {
		return err
	}
	at, err := s.ackPosition(ctx, c, a)
	if err != nil {
		return err
	}
	if !s.mayAsk() {
		return refuse(protocol.ErrorTooManyRequests, "", "%d commands wait for their answer; one ack covers all messages before it", mostAsked)
	}
	asker, ok := s.subscriber().(checker)
	if !ok {
		return fanout.ErrNotSubscribed
	}
	field := "position"
	if a.Offset != 0 {
		field = "offset"
	}
	asker.Check(s.ask(cmd.ID), c, at, field)
	return nil
}

// mostAsked bounds the questions to the hub that one connection's acks may be among.
const mostAsked = 1024

func (s *Session) mayAsk() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked) < mostAsked
}

func (s *Session) ackPosition(ctx context.Context, c fanout.Channel, a *protocol.AckCommand) (fanout.Position, error) {
	var none fanout.Position
	d := s.durable.Load()
	switch {
	case a.Offset == 0 && a.Position == "":
		return none, BadRequest("position", "is missing; give the position, or the offset, of the last message that is done")
	case a.Offset != 0 && a.Position != "":
		return none, BadRequest("position", "give at most one of position and offset")
	case d == nil:
		return none, BadRequest("channel", "this connection has no durable session; name one in connect")
	}
	if token, _ := s.joined(c); d.durability(c, token) == passing {
		return none, refuse(protocol.ErrorNotFound, "channel", "this connection has no durable subscription to %s; subscribe with durable first", c)
	}
	if a.Position != "" {
		return fanout.ParsePosition(a.Position)
	}
	ctx, cancel := context.WithTimeout(ctx, s.registry.cfg.CommandTimeout)
	defer cancel()
	at, err := d.all.store.At(ctx, c, a.Offset)
	if errors.Is(err, fanout.ErrNotStored) {
		return none, BadRequest("offset", "no message of %s is stored at %d; acknowledge by position", c, a.Offset)
	}
	return at, err
}

// checked moves the place on whose acknowledgement is right.
func (s *Session) checked(n fanout.Notice) bool {
	id := s.answered(n.Token)
	if n.Token&vain != 0 {
		return s.push(&protocol.Event{ID: id, Unsubscribed: &protocol.UnsubscribedEvent{Channel: n.Channel.String()}})
	}
	if n.Err != nil {
		s.durable.Load().debt.vain(n.Err)
		s.reply(id, n.Err)
		return true
	}
	at, ok := s.durable.Load().acked(n.Channel, n.Positions[0], n.Positions[1])
	if !ok {
		s.reply(id, fanout.ErrNotSubscribed)
		return true
	}
	s.registry.durables.met.acks.Inc()
	s.push(&protocol.Event{ID: id, Acked: &protocol.AckedEvent{Channel: n.Channel.String(), Offset: at.Offset, Position: at.String()}})
	return true
}

// tell adds to subscribed what only a durable subscription has. A client that an
// operator has reset gets other messages than it expects, earlier ones perhaps: it is
// told as of a hole, so that it forgets what it knew.
func (d *durable) tell(ev *protocol.SubscribedEvent, c fanout.Channel, resumed bool) {
	k, ok := d.place(c)
	if !ok {
		return // it was given up while it began
	}
	ev.Durable, ev.Resumed = true, resumed
	if k.Reset && ev.Recovered {
		ev.Recovered, ev.Reason = false, ReasonReset
	}
}

// ReasonReset is the reason of a subscription that begins where an operator put it.
const ReasonReset = protocol.ReasonReset
