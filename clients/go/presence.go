package rivulet

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Member is one connection that is subscribed to a channel.
type Member struct {
	Client string
	User   string          // "" for an anonymous one
	Info   json.RawMessage // what its token says of the user; nil for nothing
	Since  time.Time       // when it joined
}

// Presence tells who is subscribed to a channel: an answer to Client.Presence, or what
// has changed, in Update.Presence.
type Presence struct {
	Channel string
	// Members of the page; in an update, unless empty, all there are, in place of those
	// that were known.
	Members []Member
	// Joined and Left since the update before. Where an update has neither these nor
	// Members, the channel has too many members to tell who they are.
	Joined, Left []Member
	// Clients and Users are how many connections, and of how many users, there are.
	Clients, Users int
	// Next is PresenceOptions.After of the next page, "" on the last.
	Next string
	// Partial says that not every node has answered: there may be more members.
	Partial bool
}

// PresenceOptions say which members to list.
type PresenceOptions struct {
	// Limit is 1 to 1,000; 0 is 100.
	Limit int
	// After is Presence.Next of the page before.
	After string
	// Counts asks for the numbers only.
	Counts bool
}

// Presence asks who is subscribed to a channel. Lost connections and temporary errors
// are overcome until ctx ends.
func (c *Client) Presence(ctx context.Context, channel string, opts PresenceOptions) (*Presence, error) {
	cmd := &protocol.PresenceCommand{Channel: canonical(channel), Limit: opts.Limit, After: opts.After, Counts: opts.Counts}
	e, err := c.repeat(ctx, func() *protocol.Command { return &protocol.Command{Presence: cmd} })
	if err != nil {
		return nil, doing(err, "presence of %s", cmd.Channel)
	}
	if e.Presence == nil {
		return nil, errUnexpectedReply
	}
	return newPresence(e.Presence), nil
}

func newPresence(e *protocol.PresenceEvent) *Presence {
	return &Presence{
		Channel: canonical(e.Channel), Members: newMembers(e.Members), Joined: newMembers(e.Joined), Left: newMembers(e.Left),
		Clients: e.Clients, Users: e.Users, Next: e.Next, Partial: e.Partial,
	}
}

func newMembers(list []protocol.Member) []Member {
	if len(list) == 0 {
		return nil
	}
	members := make([]Member, len(list))
	for i, m := range list {
		members[i] = Member{Client: m.Client, User: m.User, Info: m.Info, Since: time.UnixMilli(m.Since)}
	}
	return members
}

// size is what an update counts against a buffer, in bytes.
func (p *Presence) size() int {
	n := 128
	for _, list := range [][]Member{p.Members, p.Joined, p.Left} {
		for i := range list {
			n += 128 + len(list[i].User) + len(list[i].Info)
		}
	}
	return n
}

// Roster follows the members of one channel from the updates of a subscription with
// SubscribeOptions.Presence. The zero value is empty. It is not safe for concurrent use.
type Roster struct {
	members map[string]Member
	// Known is false while the channel has too many members to tell who they are, and
	// before the first update.
	Known bool
	// Clients, Users and Partial are those of the last update.
	Clients, Users int
	Partial        bool
}

// Apply takes an update and returns the users who came, with their first connection, and
// those who left, with their last.
func (r *Roster) Apply(p *Presence) (came, left []string) {
	r.Clients, r.Users, r.Partial = p.Clients, p.Users, p.Partial
	before := r.users()
	switch {
	case len(p.Members) > 0:
		r.members, r.Known = make(map[string]Member, len(p.Members)), true
		r.add(p.Members)
	case len(p.Joined)+len(p.Left) > 0:
		if !r.Known {
			return nil, nil
		}
		for _, m := range p.Left {
			delete(r.members, m.Client)
		}
		r.add(p.Joined)
	default:
		r.members, r.Known = nil, false
		return nil, nil
	}
	after := r.users()
	return missing(after, before), missing(before, after)
}

func (r *Roster) add(list []Member) {
	for _, m := range list {
		r.members[m.Client] = m
	}
}

func (r *Roster) users() map[string]bool {
	users := map[string]bool{}
	for _, m := range r.members {
		if m.User != "" {
			users[m.User] = true
		}
	}
	return users
}

// missing lists what of a is not in b, in order.
func missing(a, b map[string]bool) (list []string) {
	for user := range a {
		if !b[user] {
			list = append(list, user)
		}
	}
	slices.Sort(list)
	return list
}

// Members are those known, in the order of their IDs.
func (r *Roster) Members() []Member {
	return slices.SortedFunc(maps.Values(r.members), func(a, b Member) int { return cmp.Compare(a.Client, b.Client) })
}
