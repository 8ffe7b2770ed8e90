package session

import (
	"context"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// presence reads a page of members beside the reading of commands; a connection has one
// history or presence under way at a time.
func presence(ctx context.Context, s *Session, cmd *protocol.Command) error {
	q, err := ParsePresence(cmd.Presence)
	if err != nil {
		return err
	}
	if !s.allows(auth.Presence, q.Channel) {
		return s.lacking("channel", auth.Presence, q.Channel)
	}
	if s.registry.services.Presence == nil {
		return fanout.ErrNoPresence
	}
	pages := s.queue().pages
	pages <- struct{}{}
	s.work.Go(func() {
		defer func() { <-pages }()
		s.readPresence(ctx, cmd.ID, q)
	})
	return nil
}

func (s *Session) readPresence(ctx context.Context, id uint64, q fanout.PresenceQuery) {
	ctx, cancel := context.WithTimeout(ctx, s.registry.cfg.CommandTimeout)
	defer cancel()
	if err := s.mayRead(ctx, PresenceReads(q.Limit)); err != nil {
		s.reply(id, err)
		return
	}
	page, err := s.registry.services.Presence.Page(ctx, q)
	if err != nil {
		s.refuse(id, ReadErrorEvent(err), err)
		return
	}
	if s.out.WaitRoom() {
		s.push(&protocol.Event{ID: id, Presence: PresenceEvent(q.Channel, page, s.registry.cfg.HardBuffer/2)})
	}
}

// PresenceReads is how many stored messages it counts as to ask all nodes for so many
// members, or channels: there are less of them, and they are smaller.
func PresenceReads(members int) int { return members / 4 }

// ParsePresence checks the fields of a presence command.
func ParsePresence(cmd *protocol.PresenceCommand) (fanout.PresenceQuery, error) {
	q := fanout.PresenceQuery{Limit: cmd.Limit, After: cmd.After}
	c, err := fanout.ParseChannel(cmd.Channel)
	if err != nil {
		return q, err
	}
	q.Channel = c
	switch {
	case cmd.Limit < 0 || cmd.Limit > protocol.MaxMembers:
		return q, BadRequest("limit", "is %d, must be from 1 to %d", cmd.Limit, protocol.MaxMembers)
	case cmd.Counts && (cmd.Limit != 0 || cmd.After != ""):
		return q, BadRequest("counts", "asks for no members, so there is no limit or after")
	case cmd.Counts:
		return q, nil
	case cmd.Limit == 0:
		q.Limit = protocol.DefaultMembers
	}
	if _, ok := fanout.ParseClientID(cmd.After); cmd.After != "" && !ok {
		return q, BadRequest("after", "%.32q is not the next of a page", cmd.After)
	}
	return q, nil
}

// memberOverhead is what a member takes in an event beside its texts, about.
const memberOverhead = 128

// PresenceEvent is a page as the wire has it, cut to about most bytes of members but
// one at least; what is cut off is in the next page.
func PresenceEvent(c fanout.Channel, page fanout.PresencePage, most int) *protocol.PresenceEvent {
	ev := &protocol.PresenceEvent{
		Channel: c.String(), Clients: page.Clients, Users: page.Users, Next: page.Next, Partial: page.Partial,
	}
	for i, m := range page.Members {
		if most -= memberOverhead + len(m.User) + len(m.Info); most < 0 && i > 0 {
			ev.Next = page.Members[i-1].Client.String()
			break
		}
		ev.Members = append(ev.Members, MemberOf(m))
	}
	return ev
}

// NewsEvent is what watchers are told as the wire has it.
func NewsEvent(n *fanout.PresenceNews) *protocol.PresenceEvent {
	return &protocol.PresenceEvent{
		Channel: n.Channel.String(), Clients: n.Clients, Users: n.Users, Partial: n.Partial,
		Members: members(n.Members), Joined: members(n.Joined), Left: members(n.Left),
	}
}

func members(list []*fanout.Member) []protocol.Member {
	if len(list) == 0 {
		return nil
	}
	out := make([]protocol.Member, len(list))
	for i, m := range list {
		out[i] = MemberOf(m)
	}
	return out
}

// MemberOf is a member as the wire has it.
func MemberOf(m *fanout.Member) protocol.Member {
	return protocol.Member{Client: m.Client.String(), User: m.User, Info: m.Info, Since: m.Since}
}
