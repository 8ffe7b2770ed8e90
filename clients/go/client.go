package rivulet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Client is one connection to a node, kept up for ever, and what runs over it.
type Client struct {
	// Static after New.
	opts  Options
	urls  []string
	calls dispatcher
	wg    sync.WaitGroup // run, the dispatcher, timers
	ended chan struct{}  // closed with StateClosed
	// writeBuffers are borrowed for the time of a write.
	writeBuffers sync.Pool

	life context.Context //nolint:containedctx // run's, for what goes on beside it; set by Connect

	tried string // run's own: the token of the last attempt to connect
	// resumes is run's own: the client was connected before.
	resumes bool

	mu          sync.Mutex // guards the following
	state       State
	reason      error                   // the last failure; in StateClosed, what ended the client
	changed     chan struct{}           // closed and replaced at every change of state
	stop        context.CancelCauseFunc // of run; nil before Connect
	link        *link                   // StateConnected
	exact       map[string]*Subscription
	patterns    []*Subscription // in the order of Subscribe
	groups      map[string]*Group
	holds       map[*hold]struct{}
	leaving     map[string]bool // what is let go of for those that overlap with it; whether it was asked for
	timers      map[*time.Timer]struct{}
	dispatching bool
	startCalls  func() // starts the dispatcher
}

// New prepares a client of the node at url, such as "http://127.0.0.1:8080" or
// "wss://rt.example.com/v1/ws"; without a path it is /v1/ws. It connects at Connect.
func New(url string, opts Options) (*Client, error) {
	c := &Client{
		opts: opts.withDefaults(), calls: dispatcher{wake: make(chan struct{}, 1)},
		changed: make(chan struct{}), ended: make(chan struct{}), exact: map[string]*Subscription{}, groups: map[string]*Group{},
		holds: map[*hold]struct{}{}, leaving: map[string]bool{}, timers: map[*time.Timer]struct{}{},
	}
	for _, raw := range append([]string{url}, opts.URLs...) {
		u, err := nodeURL(raw, true, "/v1/ws")
		if err != nil {
			return nil, err
		}
		c.urls = append(c.urls, u)
	}
	if len(c.opts.Name) > protocol.MaxClientNameBytes {
		return nil, fmt.Errorf("rivulet: Options.Name is over %d bytes", protocol.MaxClientNameBytes)
	}
	if c.opts.Codec.subprotocols() == nil {
		return nil, fmt.Errorf("rivulet: Options.Codec is %d, which is neither CodecJSON nor CodecProtobuf", c.opts.Codec)
	}
	return c, nil
}

// Connect starts the client and waits until a node has acknowledged it. If ctx
// ends first, it returns an error that wraps ctx's and names the last failure; the
// client goes on trying until Close. If the node refuses for good, the error is
// why (see State). Further calls only wait.
func (c *Client) Connect(ctx context.Context) error {
	c.mu.Lock()
	if c.state == StateInitialized {
		c.startLocked(ctx)
	}
	c.mu.Unlock()
	_, err := c.connected(ctx)
	if err != nil && ctx.Err() != nil {
		if _, reason := c.State(); reason != nil {
			return fmt.Errorf("rivulet: connect: %w (last failure: %w)", ctx.Err(), reason)
		}
		return fmt.Errorf("rivulet: connect: %w", ctx.Err())
	}
	return err
}

// startLocked starts run; what it runs outlives ctx and ends at Close.
func (c *Client) startLocked(ctx context.Context) {
	ctx, c.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	c.life = ctx
	c.startCalls = func() { c.wg.Go(func() { c.calls.run(ctx) }) }
	c.state = StateConnecting
	c.wg.Go(func() { c.run(ctx) })
}

// Close ends the client and all its subscriptions, and waits for its goroutines.
// It must not be called from a callback.
func (c *Client) Close() {
	c.mu.Lock()
	switch c.state {
	case StateInitialized:
		c.setStateLocked(StateClosed, ErrClosed)
		close(c.ended)
	case StateClosed, StateConnecting, StateConnected, StateRetrying:
		if c.stop != nil {
			c.stop(ErrClosed)
		}
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// State tells the state of the connection and, in StateRetrying and StateClosed,
// the reason.
func (c *Client) State() (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.reason
}

func (c *Client) setStateLocked(s State, reason error) {
	c.state, c.reason = s, reason
	close(c.changed)
	c.changed = make(chan struct{})
}

// connected waits for the current link.
func (c *Client) connected(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		state, reason, l, changed := c.state, c.reason, c.link, c.changed
		c.mu.Unlock()
		switch {
		case state == StateInitialized:
			return nil, ErrNotConnected
		case state == StateClosed:
			return nil, reason
		case l != nil && !l.isLost():
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// current is the link, nil while there is none.
func (c *Client) current() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// Subscribe starts a subscription to a channel or a pattern and waits until it has
// begun; lost connections and temporary errors are overcome meanwhile. If ctx ends
// first, there is no subscription. Errors: ErrNotConnected before Connect,
// ErrAlreadySubscribed, ErrClosed, *Error where the node refuses.
func (c *Client) Subscribe(ctx context.Context, channel string, opts SubscribeOptions) (*Subscription, error) {
	s := newSubscription(c, canonical(channel), opts)
	if err := opts.validate(s.pattern); err != nil {
		return nil, err
	}
	if opts.Durable && c.opts.Session == "" {
		return nil, invalid("durable", "needs Options.Session")
	}
	if err := c.register(s); err != nil {
		return nil, err
	}
	s.ask(c.current())
	select {
	case <-s.began:
		return s, nil
	case <-s.done:
		select {
		case <-s.began: // it began, and ended since: for its range to tell
			return s, nil
		default:
			return nil, doing(s.Err(), "subscribe %s", s.channel)
		}
	case <-ctx.Done():
		if l := s.end(ctx.Err(), true); l != nil && opts.Durable {
			s.leave(l)
		} else if l != nil {
			s.letGo(l)
		}
		return nil, doing(ctx.Err(), "subscribe %s", s.channel)
	}
}

func (c *Client) register(s *Subscription) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case StateInitialized:
		return ErrNotConnected
	case StateClosed:
		return c.reason
	case StateConnecting, StateConnected, StateRetrying:
	}
	if err := c.takenLocked(s.channel, false); err != nil {
		return err
	}
	if s.opts.callbacks() && !c.dispatching {
		c.dispatching = true
		c.startCalls()
	}
	if s.pattern {
		c.patterns = append(c.patterns, s)
	} else {
		c.exact[s.channel] = s
	}
	return nil
}

// remove frees the name of s, which has ended and which the node does not know any more.
func (c *Client) remove(s *Subscription) {
	for _, h := range c.forget(s) {
		h.resume(c) // it may have waited for s
	}
}

// forget does so, and returns the holds that there are.
func (c *Client) forget(s *Subscription) []*hold {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.find(s.channel) != s {
		return nil // it was removed before
	}
	delete(c.exact, s.channel)
	delete(c.leaving, s.channel)
	c.patterns = slices.DeleteFunc(c.patterns, func(o *Subscription) bool { return o == s })
	close(s.removed)
	c.partLocked(s)
	return slices.Collect(maps.Keys(c.holds))
}

// partLocked notes that s has ended, or the node has let go of it, whatever it has not handed
// on: what comes to others next does not say that they have had what was its.
func (c *Client) partLocked(s *Subscription) {
	if c.state == StateClosed {
		return
	}
	others := c.patterns
	if s.pattern {
		others = c.subscriptionsLocked()
	}
	for _, o := range others {
		if o != s && overlap(o, s) {
			o.mu.Lock()
			o.seen.part()
			o.mu.Unlock()
		}
	}
}

func (c *Client) part(s *Subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partLocked(s)
}

// find returns the subscription to this very channel or pattern. c.mu is held.
func (c *Client) find(channel string) *Subscription {
	if s := c.exact[channel]; s != nil {
		return s
	}
	for _, s := range c.patterns {
		if s.channel == channel {
			return s
		}
	}
	return nil
}

// lookup returns the subscription to this very channel or pattern, nil if none.
func (c *Client) lookup(channel string) *Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(canonical(channel))
}

// subscriptionsLocked lists all: channels, then patterns in their order.
func (c *Client) subscriptionsLocked() []*Subscription {
	return append(slices.Collect(maps.Values(c.exact)), c.patterns...)
}

func (c *Client) allGroups() []*Group {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.groups))
}

// after runs f after d, unless the client is closed before.
func (c *Client) after(d time.Duration, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == StateClosed {
		return
	}
	var t *time.Timer
	c.wg.Add(1)
	t = time.AfterFunc(d, func() {
		defer c.wg.Done()
		c.mu.Lock()
		delete(c.timers, t)
		c.mu.Unlock()
		f()
	})
	c.timers[t] = struct{}{}
}

// shut makes StateClosed final and ends everything that waits.
func (c *Client) shut(reason error) {
	c.mu.Lock()
	c.setStateLocked(StateClosed, reason)
	close(c.ended)
	for t := range c.timers {
		if t.Stop() {
			c.wg.Done()
		}
	}
	clear(c.timers)
	subs := c.subscriptionsLocked()
	stop := c.stop
	c.mu.Unlock()
	for _, s := range subs {
		s.end(reason, errors.Is(reason, ErrClosed))
		c.remove(s)
	}
	for _, g := range c.allGroups() {
		g.fail(reason)
	}
	if errors.Is(reason, ErrClosed) {
		stop(reason) // the dispatcher; after a refusal it still has calls to make
	}
}
