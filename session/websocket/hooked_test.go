package websocket_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

// yes is a hook of the namespace slow that allows everything.
type yes struct{}

func (yes) Asks(namespace string) bool { return namespace == "slow" }

func (yes) Allow(context.Context, auth.Claims, string, fanout.Channel) error { return nil }

// stuck are filters that take their time.
type stuck struct {
	compiling chan struct{} // closed by the first
	free      chan struct{}
}

func (f stuck) Compile(string) (*fanout.Filter, error) {
	close(f.compiling)
	<-f.free
	return nil, fanout.ErrTooManyFilters
}

// TestABeginningHoldsNobodyUp: what a subscription waits for after its hook has allowed it
// keeps no other command of the connection waiting.
func TestABeginningHoldsNobodyUp(t *testing.T) {
	ann := hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}, "slow:>": {auth.Subscribe}})
	filters := stuck{make(chan struct{}), make(chan struct{})}
	n := startWith(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann}}, func(s *session.Services) {
		s.Subscribe, s.Filters = yes{}, filters
	})
	c := n.dial(t, "?token=ann", nil)
	c.next()
	c.send(`{"id":1,"subscribe":{"channel":"slow:a","filter":"true"}}`)
	<-filters.compiling
	c.subscribe(2, "chat:a", "")
	c.send(`{"id":3,"refresh":{"token":"ann"}}`)
	if ev := c.next(); ev.ID != 3 || ev.Connected == nil {
		t.Fatalf("got %s", show(ev))
	}
	c.send(`{"id":4,"subscribe":{"channel":"slow:a"}}`)
	c.wantError(4, protocol.ErrorConflict, "channel") // it waits still
	c.send(`{"id":5,"unsubscribe":{"channel":"chat:a"}}`)
	if ev := c.next(); ev.ID != 5 || ev.Unsubscribed == nil {
		t.Fatalf("got %s", show(ev))
	}
	close(filters.free)
	c.wantError(1, protocol.ErrorTooManyRequests, "filter")
	c.subscribe(6, "slow:a", "")
}

// thinker is a hook of the namespace slow that takes its time where free is set, and gives
// no answer while it is away.
type thinker struct {
	asked chan struct{} // one for each question
	free  chan struct{} // of it an answer each; nil: at once
	away  atomic.Bool
}

func newThinker(slow bool) *thinker {
	h := &thinker{asked: make(chan struct{}, 64)}
	if slow {
		h.free = make(chan struct{})
	}
	return h
}

func (h *thinker) Asks(namespace string) bool { return namespace == "slow" }

func (h *thinker) Allow(ctx context.Context, _ auth.Claims, _ string, _ fanout.Channel) error {
	h.asked <- struct{}{}
	if h.free != nil {
		select {
		case <-h.free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if h.away.Load() {
		return errors.New("no answer")
	}
	return nil
}

// mayAll are claims that name slow:a, and wider and narrower ones of the same user.
func mayAll(t *testing.T) hubtest.Tokens {
	t.Helper()
	all := map[string][]auth.Action{"chat:>": {auth.Subscribe}, "slow:>": {auth.Subscribe}}
	named := hubtest.May(t, "ann", all)
	named.Channels = []string{"slow:a"}
	return hubtest.Tokens{Known: map[string]auth.Claims{
		"ann": hubtest.May(t, "ann", all), "named": named,
		"narrow": hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}}),
	}}
}

// TestWhatIsSubscribedToIsNotAskedAbout: a refresh whose token names a channel that is
// subscribed to, and a second subscribe, ask nobody and change nothing, also while the hook
// gives no answer.
func TestWhatIsSubscribedToIsNotAskedAbout(t *testing.T) {
	h := newThinker(false)
	n := startWith(t, nil, mayAll(t), func(s *session.Services) { s.Subscribe = h })
	c := n.dial(t, "?token=named", nil)
	c.next()
	if ev := c.next(); ev.Subscribed == nil || ev.Subscribed.Channel != "slow:a" {
		t.Fatalf("got %s", show(ev))
	}
	c.subscribe(1, "slow:b", "")
	h.away.Store(true)
	for range 5 {
		c.send(`{"id":2,"refresh":{"token":"named"}}`)
		if ev := c.next(); ev.ID != 2 || ev.Connected == nil {
			t.Fatalf("got %s", show(ev))
		}
	}
	c.send(`{"id":3,"subscribe":{"channel":"slow:b"}}`)
	c.wantError(3, protocol.ErrorConflict, "channel")
	for _, channel := range []string{"slow:a", "slow:b"} {
		n.hub.Publish(channel, `1`)
		if ev := c.next(); ev.Message == nil || ev.Message.Channel != channel {
			t.Fatalf("got %s, want the message: it is subscribed to", show(ev))
		}
	}
	if asked := len(h.asked); asked != 2 {
		t.Errorf("asked %d times about two subscriptions", asked)
	}
	c.send(`{"id":4,"unsubscribe":{"channel":"slow:a"}}`)
	if ev := c.next(); ev.ID != 4 || ev.Unsubscribed == nil {
		t.Fatalf("got %s", show(ev))
	}
	n.hub.Publish("slow:a", `2`)
	c.send(`{"id":5,"ping":{}}`)
	if ev := c.next(); ev.ID != 5 {
		t.Fatalf("got %s after unsubscribed", show(ev))
	}
}

// TestRightsThatEndWhileAHookThinks: what a refresh takes away does not begin when the hook
// has allowed it at last, whether the client or its token asked for it.
func TestRightsThatEndWhileAHookThinks(t *testing.T) {
	for name, asks := range map[string]struct{ token, subscribe string }{
		"the client": {"ann", `{"id":1,"subscribe":{"channel":"slow:a"}}`},
		"the token":  {"named", `{"id":1,"ping":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			h := newThinker(true)
			n := startWith(t, nil, mayAll(t), func(s *session.Services) { s.Subscribe = h })
			c := n.dial(t, "?token="+asks.token, nil)
			c.next()
			c.send("%s", asks.subscribe)
			<-h.asked
			if asks.token == "named" {
				c.next() // pong
			}
			c.send(`{"id":2,"refresh":{"token":"narrow"}}`)
			if ev := c.next(); ev.ID != 2 || ev.Connected == nil {
				t.Fatalf("got %s", show(ev))
			}
			close(h.free)
			if asks.token == "named" {
				if ev := c.next(); ev.Unsubscribed == nil || ev.Unsubscribed.Channel != "slow:a" || ev.Unsubscribed.Code != protocol.ErrorRevoked {
					t.Fatalf("got %s, want word that it is not allowed", show(ev))
				}
			} else {
				c.wantError(1, protocol.ErrorForbidden, "channel")
			}
			n.hub.Publish("slow:a", `1`)
			c.send(`{"id":3,"ping":{}}`)
			if ev := c.next(); ev.ID != 3 {
				t.Fatalf("got %s of a channel that is not allowed", show(ev))
			}
		})
	}
}

// lateHub is a hub that does what a connection asks for when it is released, one by one.
type lateHub struct {
	session.Subscriber

	sink fanout.Sink

	mu    sync.Mutex // guards the following
	asked []func() error
}

func (h *lateHub) later(do func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, do)
	return nil
}

func (h *lateHub) Subscribe(req fanout.SubscribeRequest) error {
	return h.later(func() error { return h.Subscriber.Subscribe(req) })
}

func (h *lateHub) Unsubscribe(token uint64, c fanout.Channel) error {
	return h.later(func() error { return h.Subscriber.Unsubscribe(token, c) })
}

func (h *lateHub) Check(token uint64, c fanout.Channel, _ fanout.Position, _ string) {
	_ = h.later(func() error {
		h.sink.Notify(fanout.Notice{Kind: fanout.NoticeChecked, Token: token, Channel: c, Err: fanout.ErrNotSubscribed})
		return nil
	})
}

// of makes the connection's place at a hub a late one.
func (h *lateHub) of(hub func(fanout.Sink) session.Subscriber) func(fanout.Sink) session.Subscriber {
	return func(sink fanout.Sink) session.Subscriber {
		h.Subscriber, h.sink = hub(sink), sink
		return h
	}
}

// do does the first of what waits.
func (h *lateHub) do(t *testing.T) {
	t.Helper()
	var first func() error
	hubtest.Eventually(t, "the session to ask the hub", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.asked) == 0 {
			return false
		}
		first, h.asked = h.asked[0], h.asked[1:]
		return true
	})
	if err := first(); err != nil {
		t.Fatal(err)
	}
}

// TestNoMessageBeforeSubscribed: a client that subscribes at once to what its token names, or
// unsubscribes from it, is told of the token's own subscription where that delivers first.
func TestNoMessageBeforeSubscribed(t *testing.T) {
	for name, second := range map[string]string{
		"subscribe":   `{"id":1,"subscribe":{"channel":"chat:a"}}`,
		"unsubscribe": `{"id":1,"unsubscribe":{"channel":"chat:a"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			named := hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}})
			named.Channels = []string{"chat:a"}
			late := &lateHub{}
			n := startWith(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"named": named}}, func(s *session.Services) {
				s.NewClient = late.of(s.NewClient)
			})
			c := n.dial(t, "?token=named", nil)
			c.next()
			c.send("%s", second)
			c.send(`{"id":2,"ping":{}}`)
			if ev := c.next(); ev.ID != 2 {
				t.Fatalf("got %s", show(ev))
			}
			late.do(t) // the token's
			n.hub.Publish("chat:a", `1`)
			if ev := c.next(); ev.ID != 0 || ev.Subscribed == nil || ev.Subscribed.Channel != "chat:a" {
				t.Fatalf("got %s, want subscribed before the message", show(ev))
			}
			if ev := c.next(); ev.Message == nil {
				t.Fatalf("got %s", show(ev))
			}
			late.do(t) // it ends
			if name == "subscribe" {
				late.do(t) // and the client's takes its place
				if ev := c.next(); ev.ID != 1 || ev.Subscribed == nil {
					t.Fatalf("got %s", show(ev))
				}
				return
			}
			if ev := c.next(); ev.ID != 1 || ev.Unsubscribed == nil {
				t.Fatalf("got %s", show(ev))
			}
		})
	}
}

// TestNoMessageAfterUnsubscribed: an unsubscribe that takes back a question is answered behind
// what an earlier subscription still delivers, whose end the hub has not come to.
func TestNoMessageAfterUnsubscribed(t *testing.T) {
	h, late := newThinker(true), &lateHub{}
	n := startWith(t, nil, mayAll(t), func(s *session.Services) { s.Subscribe, s.NewClient = h, late.of(s.NewClient) })
	c := n.dial(t, "?token=ann", nil)
	c.next()
	c.send(`{"id":1,"subscribe":{"channel":"slow:a"}}`)
	h.free <- struct{}{}
	late.do(t)
	if ev := c.next(); ev.ID != 1 || ev.Subscribed == nil {
		t.Fatalf("got %s", show(ev))
	}
	<-h.asked
	c.send(`{"id":2,"unsubscribe":{"channel":"slow:a"}}`)
	c.send(`{"id":3,"subscribe":{"channel":"slow:a"}}`)
	<-h.asked
	c.send(`{"id":4,"unsubscribe":{"channel":"slow:a"}}`)
	c.send(`{"id":5,"ping":{}}`)
	if ev := c.next(); ev.ID != 5 {
		t.Fatalf("got %s, though the hub has ended nothing", show(ev))
	}
	n.hub.Publish("slow:a", `1`)
	if ev := c.next(); ev.Message == nil {
		t.Fatalf("got %s", show(ev))
	}
	for _, id := range []uint64{2, 4} {
		late.do(t)
		if ev := c.next(); ev.ID != id || ev.Unsubscribed == nil {
			t.Fatalf("got %s, want unsubscribed to command %d", show(ev), id)
		}
	}
	close(h.free)
	c.wantError(3, protocol.ErrorNotFound, "channel")
}
