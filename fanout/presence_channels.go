package fanout

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
)

// ChannelsQuery asks for a page of the channels that have subscribers, in the order of
// their names.
type ChannelsQuery struct {
	// Prefix of the canonical names, "namespace:name"; "" is all.
	Prefix string
	// After is the name of the last channel of the page before, "" for the first page.
	After string
	Limit int // 1 to MaxChannels
}

// MaxChannels bounds a page of channels.
const MaxChannels = 1000

// ChannelsPage is one page.
type ChannelsPage struct {
	Channels []Occupancy
	More     bool
	// Partial says that not every node has answered.
	Partial bool
}

// Occupancy is how many connections are subscribed to a channel itself.
type Occupancy struct {
	Channel string `json:"channel"`
	Clients int    `json:"clients"`
}

// Channels asks all nodes which channels have subscribers, of whatever namespace;
// subscribers of patterns do not count. Errors are *InputError.
func (p *Presence) Channels(ctx context.Context, q ChannelsQuery) (ChannelsPage, error) {
	if q.Limit < 1 || q.Limit > MaxChannels {
		return ChannelsPage{}, badInput("limit", "is %d, must be 1 to %d", q.Limit, MaxChannels)
	}
	all := map[string]int{}
	add := func(list []Occupancy) {
		for _, o := range list {
			all[o.Channel] += o.Clients
		}
	}
	// Each node's first Limit+1 have all of the first Limit+1 in them.
	own := q
	own.Limit++
	add(p.hub.occupied(own))
	var page ChannelsPage
	if p.bus != nil && len(p.others()) > 0 {
		ctx, cancel := context.WithTimeout(ctx, p.cfg.AskTimeout)
		defer cancel()
		missing, err := p.bus.Ask(ctx, TopicChannels, encode(own), func(_ string, piece []byte) {
			var list []Occupancy
			page.Partial = page.Partial || json.Unmarshal(piece, &list) != nil
			add(list)
		})
		page.Partial = page.Partial || err != nil || len(missing) > 0
		if page.Partial {
			p.metrics.partial.Inc()
		}
	}
	for name, clients := range all {
		page.Channels = append(page.Channels, Occupancy{name, clients})
	}
	slices.SortFunc(page.Channels, func(a, b Occupancy) int { return cmp.Compare(a.Channel, b.Channel) })
	if page.More = len(page.Channels) > q.Limit; page.More {
		page.Channels = page.Channels[:q.Limit]
	}
	return page, nil
}

// Clients is how many connections are subscribed to the channel itself, on all nodes,
// whether or not its namespace has presence.
func (p *Presence) Clients(ctx context.Context, c Channel) (n int, partial bool, err error) {
	page, err := p.Channels(ctx, ChannelsQuery{Prefix: c.String(), Limit: 1})
	if err == nil && len(page.Channels) > 0 && page.Channels[0].Channel == c.String() {
		n = page.Channels[0].Clients
	}
	return n, page.Partial, err
}

// AnswerChannels answers a question of another node on TopicChannels.
func (p *Presence) AnswerChannels(question []byte, reply Reply) {
	var q ChannelsQuery
	if json.Unmarshal(question, &q) != nil || q.Limit < 1 || q.Limit > MaxChannels+1 {
		return
	}
	_ = reply(encode(p.hub.occupied(q)), true) // who does not get it asks again
}

// occupied is this node's share of a page.
func (h *Hub) occupied(q ChannelsQuery) []Occupancy {
	var list []Occupancy
	h.mu.RLock()
	for c, s := range h.channels {
		if s.refs > 0 && c.full > q.After && strings.HasPrefix(c.full, q.Prefix) {
			list = append(list, Occupancy{c.full, s.refs})
		}
	}
	h.mu.RUnlock()
	slices.SortFunc(list, func(a, b Occupancy) int { return cmp.Compare(a.Channel, b.Channel) })
	return list[:min(q.Limit, len(list))]
}

// Last is the position of the channel's last stored message, zero if there is none.
func (h *Hub) Last(ctx context.Context, c Channel) (Position, error) {
	ids, err := h.backend.Locate(ctx, c)
	if err != nil {
		return Position{}, err
	}
	t, err := h.backend.Tail(ctx, Source{Stream: ids[0], Filter: c})
	return t.Last, err
}
