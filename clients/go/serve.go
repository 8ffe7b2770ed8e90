package rivulet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// farewell is how long a node has to close the connection after its `disconnect`.
const farewell = time.Second

// serve reads l until it ends and returns why.
func (c *Client) serve(ctx context.Context, l *link, conn *liveConn) error {
	c.attach(l)
	defer c.detach(l)
	l.askMore()
	for _, g := range c.allGroups() {
		g.ask(l)
	}
	for {
		e, err := l.read()
		if err == nil && l.isOver() {
			// What was read ahead follows messages that a full buffer let go of, perhaps.
			err = errLost
		}
		if err == nil {
			err = c.handle(ctx, l, e)
		}
		if err == nil && l.drained() {
			err = errLost
		}
		if err != nil {
			return l.ended(err)
		}
		if e.Disconnect != nil {
			conn.silence.Store(int64(farewell))
		}
	}
}

func (c *Client) attach(l *link) {
	c.mu.Lock()
	c.link = l
	l.add(c.subscriptionsLocked())
	c.setStateLocked(StateConnected, nil)
	c.mu.Unlock()
	c.tell(StateChange{State: StateConnected, Node: l.node, Client: l.client, Resumed: l.resumed})
}

func (c *Client) detach(l *link) {
	l.close(errLost)
	c.mu.Lock()
	c.link = nil
	clear(c.leaving)
	subs, holds := c.subscriptionsLocked(), slices.Collect(maps.Keys(c.holds))
	c.mu.Unlock()
	for _, s := range subs {
		s.detach(l)
	}
	for _, h := range holds {
		h.resume(c)
	}
	for _, g := range c.allGroups() {
		g.detach()
	}
}

// handle acts on one event. An error ends the link.
func (c *Client) handle(ctx context.Context, l *link, e *protocol.Event) error {
	if e.ID != 0 {
		if reply := l.take(e.ID); reply != nil {
			reply(e)
		}
		return nil
	}
	switch {
	case e.Message != nil:
		return c.message(l, e.Message)
	case e.Subscribed != nil:
		c.brings(l, e.Subscribed)
	case e.Unsubscribed != nil:
		c.parted(l, canonical(e.Unsubscribed.Channel))
		if g := c.groupOf(e.Unsubscribed.Channel); g != nil {
			g.closed(l, e.Unsubscribed)
		} else if s := c.lookup(e.Unsubscribed.Channel); s != nil {
			s.ended(l, e.Unsubscribed)
		}
	case e.Error != nil:
		c.opts.Logger.WarnContext(ctx, "node reports an error", slog.Int("code", int(e.Error.Code)), slog.String("message", e.Error.Message))
	default:
		if e.Gap != nil {
			if g := c.groupOf(e.Gap.Channel); g != nil {
				g.lost(e.Gap)
				if e.Gap.Reason != protocol.ReasonPurged {
					return nil // it is the group's alone
				}
			}
		}
		if s, u := c.news(l, e); s != nil {
			s.deliver(l, u)
		}
		if e.Expiring != nil {
			c.renew(l, time.Duration(e.Expiring.InMS)*time.Millisecond)
		}
		c.handleLink(l, e)
	}
	return nil
}

// message hands a message to whom it belongs. A group's is nobody else's, also where the
// group was left.
func (c *Client) message(l *link, e *protocol.MessageEvent) error {
	m, err := newMessage(e)
	if err != nil {
		return &lossError{err: err, ours: true}
	}
	if e.Group != "" {
		if g := c.groupOf(m.Channel); g != nil {
			g.deliver(l, m, e)
		}
		return nil
	}
	s := l.route(m.Channel, m.Position, m.Offset)
	if s == nil {
		return nil
	}
	u := Update{Kind: KindMessage, Message: m, Channel: m.Channel}
	if !c.hadElsewhere(l, s, &u) {
		s.deliver(l, u)
	}
	return nil
}

// news returns what e tells a subscription, nil if it is no such event.
func (c *Client) news(l *link, e *protocol.Event) (*Subscription, Update) {
	var u Update
	var channel string
	whose := c.lookup
	switch {
	case e.CaughtUp != nil:
		channel = e.CaughtUp.Channel
		u = Update{Kind: KindCaughtUp, Positions: allPositions(e.CaughtUp.Position, e.CaughtUp.Positions)}
	case e.Position != nil:
		channel = e.Position.Channel
		u = Update{Kind: KindPosition, Positions: allPositions(e.Position.Position, nil)}
	case e.Gap != nil:
		channel, whose = e.Gap.Channel, c.about(l, e.Gap.Position)
		u = Update{Kind: KindGap, Positions: allPositions(e.Gap.Position, nil), Reason: e.Gap.Reason}
	case e.Deleted != nil:
		channel, whose = e.Deleted.Channel, c.about(l, e.Deleted.Position)
		u = Update{Kind: KindDeleted, Positions: allPositions(e.Deleted.Position, nil), Offset: e.Deleted.Offset}
	case e.Presence != nil:
		channel = e.Presence.Channel
		u = Update{Kind: KindPresence, Presence: newPresence(e.Presence)}
	default:
		return nil, u
	}
	u.Channel = canonical(channel)
	s := whose(channel)
	if s != nil && s.channel != u.Channel && len(u.Positions) > 0 {
		u.aside = c.groupOf(channel) != nil // of one channel of a pattern: not its own then
	}
	return s, u
}

// about finds whom an event about a subscription, or about one channel of a
// pattern, concerns.
func (c *Client) about(l *link, position string) func(channel string) *Subscription {
	return func(channel string) *Subscription {
		if isPattern(canonical(channel)) {
			return c.lookup(channel)
		}
		offset, _ := protocol.PositionOffset(position)
		return l.route(canonical(channel), position, offset)
	}
}

// handleLink acts on events that concern the connection alone.
func (c *Client) handleLink(l *link, e *protocol.Event) {
	switch {
	case e.Ping != nil:
		_, _ = l.send(nil, &protocol.Command{Pong: &protocol.Pong{}}) // what follows counts all the same
	case e.Disconnect != nil:
		l.disconnect = e.Disconnect
	}
}

func tooLarge(size, most int) *Error {
	return &Error{
		Code: protocol.ErrorTooLarge, Field: "data",
		Message: fmt.Sprintf("the command is %d bytes long, the node takes at most %d", size, most),
		Remedy:  remedy(protocol.ErrorTooLarge),
	}
}

var errUnexpectedReply = errors.New("rivulet: the node's reply is of another kind than the command")
