package session

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// SubscriptionAuthenticator turns a token for one subscription into claims that hold on
// channel alone. Errors wrap those of auth.
type SubscriptionAuthenticator interface {
	AuthenticateSubscription(ctx context.Context, token, channel string) (auth.Claims, error)
}

// grant is what a subscription token allows, as long as its subscription lasts.
type grant struct {
	token  uint64 // of the joined subscription
	claims auth.Claims
	next   *grant // of the connection's
}

// Tokens of what the hub is asked that stand for no command.
const (
	// replaced ends a subscription of the connection's token that a subscribe takes over.
	replaced uint64 = 1<<62 | iota
	// lapsed ends one whose subscription token has expired.
	lapsed
	// withdrawn ends one whose subscription token was revoked.
	withdrawn
	// unasked marks the tokens of subscriptions that the connection's token names, took
	// those of the client's own that take the place of one.
	unasked uint64 = 1 << 61
	took    uint64 = 1 << 60
	// vain marks those of unsubscribes that end nothing at the hub.
	vain uint64 = 1 << 59
	// replayed marks the tokens of subscriptions that are sent what was stored.
	replayed uint64 = 1 << 58
)

// authorise is what lets a subscription begin: the connection's own claims, or those of
// the command's subscription token, which are returned then.
func (s *Session) authorise(ctx context.Context, c fanout.Channel, cmd *protocol.SubscribeCommand) (*grant, error) {
	var given *grant
	if cmd.Token != "" {
		claims, err := s.authenticateSubscription(ctx, c, cmd.Token)
		if err != nil {
			return nil, err
		}
		given = &grant{claims: claims}
	}
	return given, s.mayBegin(c, cmd.Presence, given)
}

// mayBegin reports why a subscription may not begin, with what is given beside the
// connection's claims.
func (s *Session) mayBegin(c fanout.Channel, presence bool, given *grant) error {
	own := s.claimed()
	allows := func(a auth.Action) bool {
		return own.Allows(a, c.String()) ||
			given != nil && !given.claims.Expired(time.Now()) && given.claims.Allows(a, c.String())
	}
	switch {
	case !allows(auth.Subscribe):
		return Lacking(own, "channel", auth.Subscribe, c)
	case presence && !allows(auth.Presence):
		return Lacking(own, "presence", auth.Presence, c)
	}
	return nil
}

func (s *Session) authenticateSubscription(ctx context.Context, c fanout.Channel, token string) (auth.Claims, error) {
	service := s.registry.services.Subscriptions
	if service == nil {
		return auth.Claims{}, refuse(protocol.ErrorNotSupported, "token", "this node has no subscription tokens")
	}
	ctx, cancel := context.WithTimeout(ctx, s.registry.cfg.CommandTimeout)
	defer cancel()
	claims, err := service.AuthenticateSubscription(ctx, token, c.String())
	switch {
	case err != nil:
		return auth.Claims{}, err
	case claims.Subject != s.claimed().Subject:
		return auth.Claims{}, Forbidden("token", "is for another user than this connection's")
	}
	return claims, nil
}

// keepLocked notes a grant with its subscription. s.mu is held.
func (s *Session) keepLocked(g *grant, token uint64) {
	if g == nil {
		return
	}
	g.token, g.next = token, s.grants
	s.grants = g
	s.dueLocked()
}

// pruneLocked drops the grants whose subscription has ended. s.mu is held.
func (s *Session) pruneLocked() {
	for at := &s.grants; *at != nil; {
		g := *at
		if slices.ContainsFunc(s.subs, func(j joined) bool { return j.token == g.token }) {
			at = &g.next
		} else {
			*at = g.next
		}
	}
}

// grantedLocked reports whether a subscription token allows the action at a time, that of
// the subscription with this token, or of any with 0. s.mu is held.
func (s *Session) grantedLocked(a auth.Action, c fanout.Channel, token uint64, at time.Time) bool {
	for g := s.grants; g != nil; g = g.next {
		if (token == 0 || g.token == token) && !g.claims.Expired(at) && g.claims.Allows(a, c.String()) {
			return true
		}
	}
	return false
}

// allows reports whether the connection's claims, or a subscription token's, cover the
// action.
func (s *Session) allows(a auth.Action, c fanout.Channel) bool {
	if s.claimed().Allows(a, c.String()) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grantedLocked(a, c, 0, time.Now())
}

// dueLocked works out when the sweeper must look at tokens next. s.mu is held.
func (s *Session) dueLocked() {
	due := s.holder.warnAt
	for g := s.grants; g != nil; g = g.next {
		if at := g.claims.ExpiresAt; !at.IsZero() && (due == 0 || at.UnixNano() < due) {
			due = at.UnixNano()
		}
	}
	s.due.Store(due)
}

// sweepTokens asks for a refresh before the connection's token ends, and ends the
// subscriptions whose own tokens have.
func (s *Session) sweepTokens(now time.Time) {
	at := now.UnixNano()
	s.mu.Lock()
	warn := s.holder.warnAt != 0 && at >= s.holder.warnAt
	if warn {
		s.holder.warnAt = 0
	}
	s.mu.Unlock()
	s.endGrants(lapsed, func(c auth.Claims) bool { return c.Expired(now) })
	if end := s.expires.Load(); warn && at < end {
		s.push(&protocol.Event{Expiring: &protocol.ExpiringEvent{InMS: (end - at) / int64(time.Millisecond)}})
	}
}

// endGrants ends the subscriptions whose tokens are over; why is the hub's token.
func (s *Session) endGrants(why uint64, over func(auth.Claims) bool) {
	s.mu.Lock()
	var gone []joined
	client := s.client
	for g := s.grants; g != nil; g = g.next {
		if !over(g.claims) {
			continue
		}
		if i := slices.IndexFunc(s.subs, func(j joined) bool { return j.token == g.token }); i >= 0 {
			gone = append(gone, s.subs[i])
		}
	}
	seats := make([]*seat, len(gone))
	for i, j := range gone {
		if seats[i] = s.seatLocked(j.token); seats[i] == nil {
			s.subs = slices.DeleteFunc(s.subs, func(o joined) bool { return o.token == j.token })
		}
	}
	s.pruneLocked()
	s.dueLocked()
	s.mu.Unlock()
	for i, j := range gone {
		if seats[i] != nil {
			s.leaveGroup(0, seats[i], endOf(why))
			continue
		}
		_ = client.Unsubscribe(why, j.channel) // fails if it has ended by itself meanwhile, which a notice tells
	}
}

// endOf is how a client is told of a subscription that the node ends for a reason of its
// token; the channel is left out.
func endOf(why uint64) protocol.UnsubscribedEvent {
	code := protocol.ErrorRevoked
	if why == lapsed {
		code = protocol.ErrorTokenExpired
	}
	return protocol.UnsubscribedEvent{Code: code, Reason: code.Reason()}
}

// Begin subscribes to what the token of the handshake names. The transport calls it once,
// when the session is among the registry's members, and before it reads.
func (s *Session) Begin(h Handshake) {
	if h.Given {
		s.subscribeNamed(h.Claims.Channels)
	}
}

// subscribeNamed subscribes to the channels that the connection's token names, but for
// those that it is subscribed to. The client has not asked, so that it is told of each
// as of what the node does unasked.
func (s *Session) subscribeNamed(channels []string) {
	for _, name := range channels {
		c, err := fanout.ParsePattern(name)
		switch g := s.registry.services.Subscribe; {
		case err != nil:
		case g != nil && g.Asks(c.Namespace()):
			s.askNamed(c)
		default:
			err = s.subscribeUnasked(c)
		}
		if err != nil {
			s.push(&protocol.Event{Unsubscribed: notBegun(name, err)})
		}
	}
}

func (s *Session) subscribeUnasked(c fanout.Channel) error {
	if _, ok := s.joined(c); ok {
		return nil
	}
	if err := s.mayBegin(c, false, nil); err != nil {
		return err // whoever made the claims may have narrowed them, and left the channels
	}
	req := fanout.SubscribeRequest{Channel: c}
	release, err := s.registry.Refine(&req, &protocol.SubscribeCommand{})
	if err != nil {
		return err
	}
	defer release()
	client, token, err := s.join(c, 0, unasked, passing, nil)
	if err != nil {
		return err
	}
	req.Token = token
	if err := client.Subscribe(req); err != nil {
		s.forget(c, token)
		s.answered(token)
		return err
	}
	return nil
}

// notBegun tells of a subscription that the client has not asked for.
func notBegun(channel string, err error) *protocol.UnsubscribedEvent {
	ev := ReadErrorEvent(err)
	code := protocol.ErrorResubscribe
	if !ev.Temporary {
		code = protocol.ErrorRevoked
	}
	return &protocol.UnsubscribedEvent{Channel: channel, Code: code, Reason: ev.Message}
}

// unaskedAnswer handles what the hub says of subscriptions that no command stands for;
// false is for answer.
func (s *Session) unaskedAnswer(n fanout.Notice) (done, ok bool) {
	switch {
	case n.Token == replaced:
		return true, true
	case n.Token == lapsed || n.Token == withdrawn:
		if n.Kind == fanout.NoticeFailed {
			return true, true // it ended by itself before, and the client knows
		}
		// It is not among the subscriptions any more: one that is there came after it.
		ev := endOf(n.Token)
		ev.Channel = n.Channel.String()
		return true, s.push(&protocol.Event{Unsubscribed: &ev})
	case n.Token&unasked == 0 || n.Token&watching != 0:
		return false, false
	}
	if n.Kind != fanout.NoticeFailed {
		// Messages may follow, also where another has taken its place or it was ended
		// meanwhile, of which the hub tells later; but a membership is not told to be another's.
		if st := s.seatOf(n.Channel); st == nil || !st.open.Load() {
			return false, false
		}
		s.answered(n.Token)
		return true, true
	}
	if token, _ := s.joined(n.Channel); token != n.Token {
		s.answered(n.Token)
		return true, true // another has taken its place, or it was ended meanwhile
	}
	s.forget(n.Channel, n.Token)
	s.answered(n.Token)
	s.registry.log.Debug("channel of a token not subscribed", slog.Any("session", s), slog.Any("err", n.Err))
	return true, s.push(&protocol.Event{Unsubscribed: notBegun(n.Channel.String(), n.Err)})
}

// expiryLead is how long before a token ends its client is asked to refresh it: leadTime,
// or a quarter of the time that it has.
func expiryLead(left time.Duration) time.Duration { return min(leadTime, left/4) }

const leadTime = 20 * time.Second

// WarnAt is when the holder of claims that end is told of it; zero where they do not.
func WarnAt(claims auth.Claims, now time.Time) time.Time {
	if claims.ExpiresAt.IsZero() {
		return time.Time{}
	}
	return claims.ExpiresAt.Add(-expiryLead(claims.ExpiresAt.Sub(now)))
}
