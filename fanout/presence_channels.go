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

// channelsQuestion is one on TopicChannels.
type channelsQuestion struct {
	ChannelsQuery
	// Exact asks for the channel named Prefix alone. A node of a version that does not
	// know it answers with what has the prefix, the channel first.
	Exact bool `json:",omitempty"`
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
	own := channelsQuestion{ChannelsQuery: q}
	own.Limit++
	add(p.hub.occupied(&own))
	page := ChannelsPage{Partial: p.askChannels(ctx, &own, add)}
	for name, clients := range all {
		page.Channels = append(page.Channels, Occupancy{name, clients})
	}
	slices.SortFunc(page.Channels, byName)
	if page.More = len(page.Channels) > q.Limit; page.More {
		page.Channels = page.Channels[:q.Limit]
	}
	return page, nil
}

// askChannels hands over what the other nodes have, and reports whether one is missing.
func (p *Presence) askChannels(ctx context.Context, q *channelsQuestion, take func([]Occupancy)) (partial bool) {
	if p.bus == nil || len(p.others()) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AskTimeout)
	defer cancel()
	missing, err := p.bus.Ask(ctx, TopicChannels, encode(q), func(_ string, piece []byte) {
		var list []Occupancy
		partial = partial || json.Unmarshal(piece, &list) != nil
		take(list)
	})
	if partial = partial || err != nil || len(missing) > 0; partial {
		p.metrics.partial.Inc()
	}
	return partial
}

// Clients is how many connections are subscribed to the channel itself, on all nodes,
// whether or not its namespace has presence. It costs no node more where there are many
// channels.
func (p *Presence) Clients(ctx context.Context, c Channel) (n int, partial bool, err error) {
	q := channelsQuestion{ChannelsQuery{Prefix: c.String(), Limit: 2}, true}
	count := func(list []Occupancy) {
		for _, o := range list {
			if o.Channel == c.String() {
				n += o.Clients
			}
		}
	}
	count(p.hub.occupied(&q))
	partial = p.askChannels(ctx, &q, count)
	return n, partial, nil
}

// AnswerChannels answers a question of another node on TopicChannels.
func (p *Presence) AnswerChannels(question []byte, reply Reply) {
	var q channelsQuestion
	if json.Unmarshal(question, &q) != nil || q.Limit < 1 || q.Limit > MaxChannels+1 {
		return
	}
	_ = reply(encode(p.hub.occupied(&q)), true) // who does not get it asks again
}

func byName(a, b Occupancy) int { return cmp.Compare(a.Channel, b.Channel) }

// occupied is this node's share of a page.
func (h *Hub) occupied(q *channelsQuestion) []Occupancy {
	if q.Exact {
		c, err := ParseChannel(q.Prefix)
		if err != nil {
			return nil
		}
		h.mu.RLock()
		defer h.mu.RUnlock()
		if s := h.channels[c]; s != nil && s.refs > 0 {
			return []Occupancy{{c.full, s.refs}}
		}
		return nil
	}
	var list []Occupancy
	first := func() []Occupancy {
		slices.SortFunc(list, byName)
		// One that went and came back meanwhile may have been met twice.
		list = slices.CompactFunc(list, func(a, b Occupancy) bool { return a.Channel == b.Channel })
		return list[:min(q.Limit, len(list))]
	}
	h.eachOccupied(q.Prefix, q.After, func(some []Occupancy) {
		if list = append(list, some...); len(list) >= 2*q.Limit+occupiedSlice {
			list = first()
		}
	})
	return first()
}

// occupiedSlice is how many channels are looked at before the lock is let go.
const occupiedSlice = 512

// eachOccupied hands over, in no order, the channels that have subscribers, some at a
// time. The lock is not held meanwhile, so that neither a subscribe nor, behind it,
// Dispatch waits for a hub's worth of channels; what comes or goes in that time may be
// missing. A map may change while it is ranged over, though not at the same time.
func (h *Hub) eachOccupied(prefix, after string, f func([]Occupancy)) {
	some, looked := make([]Occupancy, 0, occupiedSlice), 0
	h.mu.RLock()
	for c, s := range h.channels {
		if s.refs > 0 && c.full > after && strings.HasPrefix(c.full, prefix) {
			some = append(some, Occupancy{c.full, s.refs})
		}
		if looked++; looked == occupiedSlice {
			h.mu.RUnlock()
			f(some)
			some, looked = some[:0], 0
			h.mu.RLock()
		}
	}
	h.mu.RUnlock()
	f(some)
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
