// Package hubtest is a small log and hub in memory for the tests of sessions: one
// stream, cursors that wait for Drained, no gaps. The real ones are in fanout and
// broker.
package hubtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
)

// Hub is a log of messages and the cursors on it.
type Hub struct {
	mu      sync.Mutex // guards the following; held while a sink is called
	log     []*fanout.Message
	clients map[*Client]struct{}
	fail    map[string]error // by channel: what subscribing answers, nil is nothing at all
	refuse  map[string]error // by channel: what publishing answers
	hold    chan struct{}    // publishes wait for it
	sizes   []int            // of the batches published
	refused int              // deliveries
	streams int              // that a pattern covers; 0 is one
	delays  bool
	late    []func() // answers to unsubscribe
}

// New returns an empty hub.
func New() *Hub {
	return &Hub{clients: map[*Client]struct{}{}, fail: map[string]error{}, refuse: map[string]error{}}
}

// Refuse makes publishing in channel fail with err.
func (h *Hub) Refuse(channel string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse[channel] = err
}

func (h *Hub) refusal(channel string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refuse[channel]
}

// Fail makes subscribing to channel fail with err, or get no answer if it is nil.
func (h *Hub) Fail(channel string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail[channel] = err
}

// Hold makes publishes wait until the returned function is called.
func (h *Hub) Hold() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := make(chan struct{})
	h.hold = c
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		close(c)
		h.hold = nil
	}
}

// Streams makes patterns tell positions of n streams, as long as positions get.
func (h *Hub) Streams(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams = n
}

func (h *Hub) positionsLocked(s *sub) []fanout.Position {
	list := []fanout.Position{at(s.next)}
	if !s.channel.IsPattern() {
		return list
	}
	for i := 1; i < h.streams; i++ {
		tag := fanout.StreamTag([]byte(fmt.Sprintf("s%04dabc", i)))
		list = append(list, fanout.Position{Stream: tag, Offset: 36e14, Time: 1 << 60})
	}
	return list
}

// Delay makes the answers to unsubscribe wait until the returned function is called,
// while the subscriptions end at once; none to end is then told late, too.
func (h *Hub) Delay() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delays = true
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.delays = false
		for _, answer := range h.late {
			answer()
		}
		h.late = nil
	}
}

// Clients is how many are open.
func (h *Hub) Clients() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

// Refused is how many deliveries the sinks had no room for.
func (h *Hub) Refused() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refused
}

// Batches are the sizes of the batches published.
func (h *Hub) Batches() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sizes)
}

// Tag names the hub's one stream.
func Tag() fanout.StreamTag { return fanout.StreamTag([]byte("hubtestA")) }

func at(offset int) fanout.Position {
	return fanout.Position{Stream: Tag(), Offset: uint64(offset), Time: int64(offset) * 1e9}
}

// Publish stores one message and delivers it.
func (h *Hub) Publish(channel, data string) fanout.Position {
	c, err := fanout.ParseChannel(channel)
	if err != nil {
		panic(err)
	}
	return h.store(&fanout.Publication{Channel: c, Data: []byte(data)})
}

func (h *Hub) store(p *fanout.Publication) fanout.Position {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := &fanout.Message{
		Channel: p.Channel, Position: at(len(h.log) + 1), Binary: p.Binary, ID: p.Key,
		User: p.User, Client: p.Client, Headers: p.Headers, Data: p.Data,
		ConflationKey: p.ConflationKey, Updates: p.Updates, Exclude: p.Exclude,
	}
	h.log = append(h.log, m)
	for c := range h.clients {
		c.pumpLocked()
	}
	return m.Position
}

// PublishAll implements session.Publisher.
func (h *Hub) PublishAll(ctx context.Context, pubs []*fanout.Publication) []fanout.Outcome {
	h.mu.Lock()
	hold := h.hold
	h.sizes = append(h.sizes, len(pubs))
	h.mu.Unlock()
	out := make([]fanout.Outcome, len(pubs))
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			for i := range out {
				out[i].Err = &fanout.OutcomeUnknownError{Cause: ctx.Err()}
			}
			return out
		}
	}
	for i, p := range pubs {
		if out[i].Err = h.refusal(p.Channel.String()); out[i].Err != nil {
			continue
		}
		if p.DeliverAt != 0 {
			out[i].Receipt = fanout.Receipt{Schedule: "AAAAAAAAAAAAAAAAAAAAAA", DeliverAt: p.DeliverAt}
			continue
		}
		out[i].Receipt.Position = h.store(p)
	}
	return out
}

// History implements session.Historian; it reads forward only.
func (h *Hub) History(_ context.Context, q fanout.HistoryQuery) (fanout.HistoryPage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	page := fanout.HistoryPage{Recovered: true, Position: q.After}
	for _, m := range h.log {
		if m.Channel != q.Channel || m.Offset() <= q.After.Offset {
			continue
		}
		if len(page.Messages) == q.Limit {
			page.More = true
			break
		}
		page.Messages, page.Position = append(page.Messages, m), m.Position
	}
	return page, nil
}

// Client is one connection's subscriptions.
type Client struct {
	hub  *Hub
	sink fanout.Sink

	// Guarded by hub.mu.
	subs    []*sub
	blocked bool
	calls   []func() bool // notices that wait for room
}

type sub struct {
	channel fanout.Channel
	next    int // index in the log
}

// NewClient implements session.Services.NewClient.
func (h *Hub) NewClient(sink fanout.Sink) session.Subscriber {
	c := &Client{hub: h, sink: sink}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients[c] = struct{}{}
	return c
}

// Subscribe answers through the sink, before it returns.
func (c *Client) Subscribe(req fanout.SubscribeRequest) error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if slices.ContainsFunc(c.subs, func(s *sub) bool { return s.channel == req.Channel }) {
		return fmt.Errorf("%w to %s", fanout.ErrAlreadySubscribed, req.Channel)
	}
	if err, ok := c.hub.fail[req.Channel.String()]; ok {
		if err != nil {
			c.notifyLocked(fanout.Notice{Kind: fanout.NoticeFailed, Token: req.Token, Channel: req.Channel, Err: err})
		}
		return nil
	}
	s := &sub{channel: req.Channel, next: len(c.hub.log)}
	switch {
	case len(req.Start.Positions) > 0:
		s.next = int(req.Start.Positions[0].Offset)
	case req.Start.Last > 0:
		for n := req.Start.Last; s.next > 0 && n > 0; s.next-- {
			if s.channel.Matches(c.hub.log[s.next-1].Channel) {
				n--
			}
		}
	}
	c.subs = append(c.subs, s)
	c.notifyLocked(fanout.Notice{
		Kind: fanout.NoticeSubscribed, Token: req.Token, Channel: req.Channel,
		Positions: c.hub.positionsLocked(s), Recovered: true,
	})
	c.pumpLocked()
	return nil
}

// Unsubscribe answers through the sink, before it returns.
func (c *Client) Unsubscribe(token uint64, channel fanout.Channel) error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	n := len(c.subs)
	c.subs = slices.DeleteFunc(c.subs, func(s *sub) bool { return s.channel == channel })
	answer := fanout.Notice{Kind: fanout.NoticeUnsubscribed, Token: token, Channel: channel}
	if len(c.subs) == n {
		answer.Kind, answer.Err = fanout.NoticeFailed, fmt.Errorf("%w to %s", fanout.ErrNotSubscribed, channel)
		if !c.hub.delays {
			return answer.Err
		}
	}
	if c.hub.delays {
		c.hub.late = append(c.hub.late, func() { c.notifyLocked(answer) })
		return nil
	}
	c.notifyLocked(answer)
	return nil
}

// Notify sends a notice to every client, as the hub would unasked.
func (h *Hub) Notify(n fanout.Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		c.notifyLocked(n)
	}
}

func (c *Client) notifyLocked(n fanout.Notice) {
	c.calls = append(c.calls, func() bool { return c.sink.Notify(n) })
	c.pumpLocked()
}

// pumpLocked offers the sink what it has not taken yet.
func (c *Client) pumpLocked() {
	for !c.blocked && len(c.calls) > 0 {
		if c.blocked = !c.calls[0](); !c.blocked {
			c.calls = c.calls[1:]
		}
	}
	for _, s := range c.subs {
		for ; !c.blocked && s.next < len(c.hub.log); s.next++ {
			m := c.hub.log[s.next]
			if !s.channel.Matches(m.Channel) {
				continue
			}
			if c.blocked = !c.sink.Deliver(m); c.blocked {
				c.hub.refused++
				break
			}
		}
	}
}

// Drained goes on.
func (c *Client) Drained() {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	c.blocked = false
	c.pumpLocked()
}

// Close ends the subscriptions; the sink is not called any more.
func (c *Client) Close() {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	delete(c.hub.clients, c)
	c.subs, c.calls = nil, nil
}
