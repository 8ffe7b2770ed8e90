package fanout

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
)

// MaxMembers bounds a page of members.
const MaxMembers = 1000

// PresenceQuery asks for one page of a channel's members, in the order of their IDs.
type PresenceQuery struct {
	Channel Channel
	// After, unless empty, is PresencePage.Next of the page before.
	After string
	// Limit of the page, 1 to MaxMembers; 0 asks for the counts only.
	Limit int
}

// PresencePage is one page. A member that is there while all pages are read is on
// exactly one of them.
type PresencePage struct {
	Members []*Member
	// Clients and Users are how many connections, and of how many users, there are on all
	// pages together.
	Clients, Users int
	// Next is the After of the next page, "" on the last.
	Next string
	// Partial says that not every node has answered.
	Partial bool
}

// share is what one node has to a page.
type share struct {
	clients int
	users   map[uint64]struct{}
	members []*Member
}

// Page asks all nodes for a page. It waits PresenceConfig.AskTimeout for them at most. It
// returns ErrNoPresence where the namespace has none, or an *InputError.
func (p *Presence) Page(ctx context.Context, q PresenceQuery) (PresencePage, error) {
	after, ok := ParseClientID(q.After)
	switch {
	case q.Channel.IsZero() || q.Channel.IsPattern():
		return PresencePage{}, badInput("channel", "must be a channel, not a pattern")
	case !p.Has(q.Channel):
		return PresencePage{}, ErrNoPresence
	case q.After != "" && !ok:
		return PresencePage{}, badInput("after", "%q is not the next of a page", clip(q.After))
	case q.Limit < 0 || q.Limit > MaxMembers:
		return PresencePage{}, badInput("limit", "is %d, must be 1 to %d", q.Limit, MaxMembers)
	}
	limit := q.Limit
	if limit > 0 {
		limit++ // whether there is more
	}
	all := p.own(q.Channel, after, q.After != "", limit)
	partial := p.ask(ctx, wireQuestion{Channel: q.Channel.String(), After: q.After, Limit: limit}, &all)
	page := PresencePage{Clients: all.clients, Users: len(all.users), Partial: partial}
	page.Members = sortedByID(all.members)
	if len(page.Members) > q.Limit {
		page.Members = page.Members[:q.Limit]
		if q.Limit > 0 {
			page.Next = page.Members[q.Limit-1].Client.String()
		}
	}
	return page, nil
}

// ask adds what the other nodes have to a share.
func (p *Presence) ask(ctx context.Context, q wireQuestion, all *share) (partial bool) {
	if p.bus == nil || len(p.others()) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AskTimeout)
	defer cancel()
	missing, err := p.bus.Ask(ctx, TopicPresence, encode(q), func(_ string, piece []byte) {
		var n wireNews
		if json.Unmarshal(piece, &n) != nil {
			partial = true
			return
		}
		all.clients += n.Clients
		for _, key := range keys(n.Keys) {
			all.users[key] = struct{}{}
		}
		for _, w := range n.Members {
			m, err := fromWire(w)
			if err != nil {
				partial = true
				continue
			}
			all.members = append(all.members, m)
		}
	})
	if err != nil {
		p.log.Debug("presence of other nodes unknown", slog.Any("err", err))
	}
	partial = partial || err != nil || len(missing) > 0
	if partial {
		p.metrics.partial.Inc()
	}
	return partial
}

// own is this node's share: limit members at most, those with the lowest IDs above
// after, if that is given.
func (p *Presence) own(c Channel, after ClientID, given bool, limit int) share {
	s := share{users: map[uint64]struct{}{}}
	p.mu.RLock()
	r := p.rosters[c]
	p.mu.RUnlock()
	if r == nil {
		return s
	}
	var ids []ClientID
	r.mu.Lock()
	s.clients = len(r.local.members)
	for key := range maps.Keys(r.local.users) {
		s.users[key] = struct{}{}
	}
	if limit > 0 {
		ids = make([]ClientID, 0, len(r.local.members))
		for id := range r.local.members {
			if !given || id > after {
				ids = append(ids, id)
			}
		}
	}
	r.mu.Unlock()
	slices.Sort(ids) // without the lock: there may be many
	ids = ids[:min(limit, len(ids))]
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if a, ok := r.local.members[id]; ok {
			s.members = append(s.members, a.member)
		}
	}
	return s
}
