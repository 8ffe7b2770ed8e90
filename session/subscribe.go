package session

import (
	"context"
	"errors"
	"slices"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

func subscribe(ctx context.Context, s *Session, cmd *protocol.Command) error {
	if cmd.Subscribe.Group != "" {
		return s.subscribeGroup(ctx, cmd.ID, cmd.Subscribe)
	}
	req, err := ParseSubscribe(cmd.Subscribe)
	if err != nil {
		return err
	}
	given, err := s.authorise(ctx, req.Channel, cmd.Subscribe)
	if err != nil {
		return err
	}
	if asked, err := s.askFirst(ctx, cmd, req, given); asked || err != nil {
		return err
	}
	return s.begin(ctx, beginning{cmd: cmd, req: req, given: given})
}

// beginning is a subscription that is allowed and has not begun.
type beginning struct {
	cmd   *protocol.Command
	req   fanout.SubscribeRequest
	given *grant
	mark  uint64 // of hooked.waiting; 0 where no hook was asked
}

// begin begins a subscription; its outcome comes as a notice. It may wait, for the limits
// and for the log, and holds up nothing on the connection but what is durable meanwhile.
func (s *Session) begin(ctx context.Context, b beginning) error {
	// The end of a channel is read, too.
	if err := s.mayRead(ctx, backlog(b.req.Start)); err != nil {
		return err
	}
	release, err := s.registry.Refine(&b.req, b.cmd.Subscribe)
	if err != nil {
		return err
	}
	defer release()
	if !b.cmd.Subscribe.Durable {
		_, err := s.enlist(b, passing)
		return err
	}
	defer s.excludeDurable()()
	if err := s.mayJoin(b.req.Channel); err != nil {
		return err // before the session gets a place
	}
	kept, err := s.startDurable(ctx, &b.req)
	if err != nil {
		return err
	}
	noted, err := s.enlist(b, kept)
	if err != nil && !noted && kept != continued && !errors.Is(err, fanout.ErrClosed) {
		_, _ = s.endDurable(ctx, b.req.Channel) // where this fails it stays, as for a client that has gone
	}
	return err
}

// enlist notes a subscription for which all is ready, if it is still wanted, and hands it to
// the hub.
func (s *Session) enlist(b beginning, kept durability) (noted bool, err error) {
	defer s.exclude()()
	if err := s.stillWanted(b); err != nil {
		return false, err
	}
	cmd, req, given := b.cmd, b.req, b.given
	mark := uint64(0)
	if req.Presence {
		mark = watching
	}
	if Replaying(req.Start) {
		mark |= replayed
	}
	client, token, err := s.join(req.Channel, cmd.ID, mark, kept, given)
	if err != nil {
		return false, err
	}
	if token&took != 0 {
		_ = client.Unsubscribe(replaced, req.Channel) // fails if it has ended by itself meanwhile
	}
	req.Token = token
	if err := client.Subscribe(req); err != nil {
		s.forget(req.Channel, token)
		s.answered(token)
		s.tookInVain(req.Channel, token)
		return true, err
	}
	s.recheckGrant(given)
	return true, nil
}

// joined returns the token of the subscription that nobody asked to end, if there is one.
func (s *Session) joined(c fanout.Channel) (token uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.subs, func(j joined) bool { return j.channel == c })
	if i < 0 {
		return 0, false
	}
	return s.subs[i].token, true
}

// mayJoin reports why a subscription of the client's own cannot begin, if it cannot.
func (s *Session) mayJoin(c fanout.Channel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.mayJoinLocked(c)
	return err
}

// mayJoinLocked returns the index of the subscription whose place a new one takes, one that
// the connection's token named, or -1. s.mu is held.
func (s *Session) mayJoinLocked(c fanout.Channel) (takes int, err error) {
	if s.ended {
		return -1, fanout.ErrClosed
	}
	takes = slices.IndexFunc(s.subs, func(j joined) bool { return j.channel == c })
	if takes >= 0 {
		if s.subs[takes].token&unasked == 0 {
			return -1, fanout.ErrAlreadySubscribed
		}
		return takes, nil
	}
	most := s.registry.cfg.MaxSubscriptions
	if m := s.holder.more; m != nil {
		most = auth.Tighten(most, m.limits.Subscriptions)
	}
	if len(s.subs) >= most {
		s.registry.services.Limits.Subscriptions()
		return -1, Forbidden("channel", "this connection has %d subscriptions, as many as it may (%s); unsubscribe some, or use a pattern", len(s.subs), SubscriptionLimit(most, s.registry.cfg))
	}
	return -1, nil
}

// SubscriptionLimit names what sets the most subscriptions that a connection may have.
func SubscriptionLimit(most int, cfg Config) string {
	if most < cfg.MaxSubscriptions {
		return "subscriptions in the limits of its token"
	}
	return "session.max_subscriptions"
}

// join notes a subscription before it begins, since its outcome may come at once. Where it
// takes the place of one that the connection's token named, its token has the mark took.
func (s *Session) join(c fanout.Channel, id, mark uint64, kept durability, given *grant) (client Subscriber, token uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	takes, err := s.mayJoinLocked(c)
	switch {
	case err != nil:
		return nil, 0, err
	case takes >= 0 && mark&unasked != 0:
		return nil, 0, fanout.ErrAlreadySubscribed
	case takes >= 0:
		s.dropLocked(takes)
		mark |= took
	}
	if s.client == nil {
		s.client = s.registry.services.NewClient(s)
	}
	token = s.askLocked(id, mark)
	s.subs = append(s.subs, joined{c, token})
	s.keepLocked(given, token)
	if kept != passing {
		s.durable.Load().bind(c, token, kept)
	}
	return s.client, token, nil
}

// dropLocked takes out a subscription of which nobody shall hear any more. s.mu is held.
func (s *Session) dropLocked(i int) {
	token := s.subs[i].token
	s.subs = slices.Delete(s.subs, i, i+1)
	s.asked = slices.DeleteFunc(s.asked, func(q question) bool { return q.token == token })
}

// tookInVain tells of the subscription whose place another has taken that did not begin.
func (s *Session) tookInVain(c fanout.Channel, token uint64) {
	if token&took != 0 {
		s.push(&protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{
			Channel: c.String(), Code: protocol.ErrorResubscribe, Reason: "a subscribe that did not begin took its place",
		}})
	}
}
