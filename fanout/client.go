package fanout

import (
	"fmt"
	"slices"
	"sync"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Client is one connection's subscriptions. Its methods may be called from any
// goroutine, but not from within the Sink.
type Client struct {
	// Static after NewClient.
	shard *shard
	sink  Sink // a Corker as well, perhaps

	gone bool // Close was called; guarded by mu

	// Owned by the shard's goroutine.
	corked   bool // until the end of the shard's turn
	blocked  bool // the sink took nothing and has not called Drained yet
	closed   bool
	patterns int32           // of active
	active   []*subscription // attached: those announced, in that order, before the others

	mu   sync.Mutex // guards the following
	subs subscriptionSet
}

// NewClient registers a connection. The sink gets nothing before Subscribe.
func (h *Hub) NewClient(sink Sink) *Client {
	n := h.next.Add(1)
	return &Client{shard: h.shards[n%uint64(len(h.shards))], sink: sink}
}

// cork has the sink gather what the shard's turn brings.
func (c *Client) cork() {
	if c.corked || c.shard.solo {
		return
	}
	if corker, ok := c.sink.(Corker); ok {
		c.corked = true
		corker.Cork()
		c.shard.corked = append(c.shard.corked, c)
	}
}

// Subscribe starts a subscription. Its outcome reaches the sink: NoticeSubscribed,
// or NoticeFailed. It returns ErrAlreadySubscribed, ErrClosed or an *InputError at
// once.
func (c *Client) Subscribe(req SubscribeRequest) error {
	if err := req.validate(); err != nil {
		return err
	}
	h := c.shard.hub
	if req.Presence && (h.presence == nil || !h.presence.Has(req.Channel)) {
		return ErrNoPresence
	}
	src := h.acquireOpen(req.Channel)
	if src != nil {
		req.Channel = src.key.Filter // equal, and shared by all its subscribers
	}
	sub := &subscription{client: c, channel: req.Channel, token: req.Token, recovered: true, watches: req.Presence, refine: refined(&req)}
	if req.Start.given() {
		start := req.Start
		sub.start = &start
	}
	if err := c.admit(sub); err != nil {
		if src != nil {
			h.release(src)
		}
		return err
	}
	if src != nil {
		if at, ok := sub.startHere(src); ok {
			c.shard.post(func() { sub.attach([]*liveSource{src}, at) })
			return nil
		}
		h.release(src)
	}
	ctx := sub.cancellable()
	if !h.start(func() { sub.prepare(ctx) }) {
		sub.cancel()
		sub.forget()
		return ErrClosed
	}
	return nil
}

// admit notes the subscription as the one to its channel.
func (c *Client) admit(sub *subscription) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return ErrClosed
	}
	if c.subs.get(sub.channel) != nil {
		return fmt.Errorf("%w to %s", ErrAlreadySubscribed, sub.channel)
	}
	if sub.refine != nil {
		if err := c.admitRefinedLocked(sub.refine); err != nil {
			return err
		}
	}
	c.subs.add(sub)
	c.shard.hub.metrics.subscriptions.Inc()
	return nil
}

// given reports whether history was asked for.
func (s Start) given() bool { return len(s.Positions) > 0 || s.Last != 0 || s.Since != 0 }

// open reports whether what there is was asked for, not what follows a position.
func (s Start) open() bool { return s.Last != 0 || s.Since != 0 }

func (r SubscribeRequest) validate() error {
	set := 0
	for _, given := range []bool{len(r.Start.Positions) > 0, r.Start.Last != 0, r.Start.Since != 0} {
		if given {
			set++
		}
	}
	switch {
	case r.Channel.IsZero():
		return badInput("channel", "is missing")
	case set > 1:
		return badInput("position", "give only one of position, last and since")
	case r.Conflate.MaxRate < 0 || r.Conflate.MaxRate > protocol.MaxRate:
		return badInput("max_rate", "is %d, must be from 1 to %d messages a second", r.Conflate.MaxRate, protocol.MaxRate)
	case r.Conflate.MaxRate > 0 && r.Conflate.By == ConflateNone:
		return badInput("max_rate", "needs conflate: messages above the rate are left out only where newer ones outdate them")
	case r.Conflate.By > ConflateLast:
		return badInput("conflate", "is not key or last")
	case r.Start.Last < 0 || r.Start.Last > MaxLast:
		return badInput("last", "is %d, must be 1 to %d", r.Start.Last, MaxLast)
	case r.Start.Since < 0:
		return badInput("since", "is negative, must be a Unix time")
	case r.Presence && r.Channel.IsPattern():
		return badInput("presence", "is for one channel; a pattern's subscribers are members of none")
	case r.Start.Last != 0 && r.Channel.IsPattern():
		return badInput("last", "is for one channel; a pattern takes positions or since")
	}
	return nil
}

// Unsubscribe ends a subscription; NoticeUnsubscribed follows everything that it
// delivered. It returns ErrNotSubscribed at once.
func (c *Client) Unsubscribe(token uint64, channel Channel) error {
	c.mu.Lock()
	sub := c.subs.get(channel)
	if sub != nil {
		c.subs.remove(sub) // a subscribe that follows at once begins anew
	}
	c.mu.Unlock()
	if sub == nil {
		return fmt.Errorf("%w to %s", ErrNotSubscribed, channel)
	}
	c.shard.hub.metrics.subscriptions.Dec()
	c.shard.post(func() {
		if sub.ended {
			c.notify(Notice{Kind: NoticeFailed, Token: token, Channel: channel, Err: fmt.Errorf("%w to %s", ErrNotSubscribed, channel)})
			return
		}
		if !sub.announced {
			c.notify(Notice{Kind: NoticeFailed, Token: sub.token, Channel: channel, Err: fmt.Errorf("%w to %s: unsubscribed before it began", ErrNotSubscribed, channel)})
		}
		sub.end()
		c.notify(Notice{Kind: NoticeUnsubscribed, Token: token, Channel: channel})
	})
	return nil
}

// Check asks whether everything of a channel's subscription up to a position was
// delivered. The answer reaches the sink, as NoticeChecked, behind all that was
// delivered before. field is what an *InputError of it names.
func (c *Client) Check(token uint64, channel Channel, at Position, field string) {
	c.shard.post(func() {
		if !c.closed {
			c.notify(c.checked(token, channel, at, field))
		}
	})
}

func (c *Client) checked(token uint64, channel Channel, at Position, field string) Notice {
	n := Notice{Kind: NoticeChecked, Token: token, Channel: channel}
	i := slices.IndexFunc(c.active, func(s *subscription) bool { return s.channel == channel })
	if i < 0 || c.active[i].cursors != nil || !c.active[i].one.begun {
		n.Err = fmt.Errorf("%w to %s", ErrNotSubscribed, channel)
		return n
	}
	switch at0 := c.active[i].one.pos; {
	case !at.Stream.SameStream(at0.Stream):
		n.Err = badInput(field, "is of another channel; give one of %s", channel)
	case at.Offset > at0.Offset:
		n.Err = badInput(field, "%d is beyond the last message delivered on this connection, which is %d", at.Offset, at0.Offset)
	default:
		n.Positions = []Position{at, at0}
	}
	return n
}

// Drained says that the sink has room again.
func (c *Client) Drained() {
	c.shard.post(func() {
		c.blocked = false
		for _, sub := range c.active {
			sub.resume()
		}
	})
}

// Close ends all subscriptions without notices. When it returns the sink is not
// called any more.
func (c *Client) Close() {
	c.mu.Lock()
	gone := c.gone
	c.gone = true
	for _, sub := range c.subs.list {
		sub.cancelLocked()
	}
	c.mu.Unlock()
	if gone {
		return
	}
	done := make(chan struct{})
	c.shard.post(func() {
		c.closed = true
		c.shard.uncork()
		for len(c.active) > 0 {
			c.active[len(c.active)-1].end()
		}
		close(done)
	})
	select {
	case <-done:
	case <-c.shard.stopped:
	}
}

// notify offers a notice and remembers if there was no room.
func (c *Client) notify(n Notice) bool {
	if c.closed {
		return false
	}
	c.cork()
	if c.sink.Notify(n) {
		return true
	}
	c.blocked = true
	return false
}

// covers reports whether another subscription of the client delivers m: one to the
// channel itself goes before a pattern, and of patterns the one that was announced
// first. One that was not yet announced has no part in it: the client, which goes by
// what it was told, knows nothing of it, and moves the position of another.
func (c *Client) covers(mine *cursor, m *Message) bool {
	if !mine.sub.channel.IsPattern() {
		return false
	}
	first := true
	for _, sub := range c.active {
		if !sub.announced {
			break // nor are those that follow
		}
		if sub == mine.sub {
			first = false
			continue
		}
		if sub.channel.IsPattern() && !first || !sub.channel.Matches(m.Channel) {
			continue
		}
		if o := sub.cursorOf(m.Stream); o != nil && o.begun && m.Offset() > o.start {
			o.leftTo = max(o.leftTo, m.Offset())
			return true
		}
	}
	return false
}
