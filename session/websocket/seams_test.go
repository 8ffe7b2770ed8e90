package websocket_test

import (
	"context"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

// thinking is a subscribe hook that allows one user, when it is told to answer.
type thinking struct {
	user          string
	asked, answer chan struct{}
}

func think(user string) thinking {
	return thinking{user, make(chan struct{}, 4), make(chan struct{})}
}

func (thinking) Asks(string) bool { return true }

func (g thinking) Allow(_ context.Context, c auth.Claims, _ string, _ fanout.Channel) error {
	if c.Subject != g.user {
		return context.Canceled
	}
	g.asked <- struct{}{}
	<-g.answer
	return nil
}

func startGated(t *testing.T, a session.Authenticator, g session.SubscribeGate) *node {
	t.Helper()
	return startWith(t, nil, a, func(s *session.Services) { s.Subscribe = g })
}

// TestGoneWhileAHookThinks: who is gone when its subscription is allowed gets none, which
// nobody would ever end. When the node notices, before the answer or after it, is chance.
func TestGoneWhileAHookThinks(t *testing.T) {
	for range 30 {
		g := think("")
		n := startGated(t, open(), g)
		c := n.dial(t, "", nil)
		c.send(`{"id":1,"subscribe":{"channel":"chat:a"}}`)
		<-g.asked
		_ = c.Close()
		time.AfterFunc(5*time.Millisecond, func() { close(g.answer) })
		for end := time.Now().Add(20 * time.Second); n.registry.Len() > 0; time.Sleep(time.Millisecond) { //nolint:forbidigo // between two looks
			if time.Now().After(end) {
				t.Fatal("the connection does not end")
			}
		}
		if got := n.hub.Clients(); got != 0 {
			t.Fatalf("%d subscribers of no connection", got)
		}
	}
}

// TestAnotherWhileAHookThinks: what a hook allows to one user is not another's, who has the
// connection meanwhile.
func TestAnotherWhileAHookThinks(t *testing.T) {
	all := map[string][]auth.Action{"chat:>": {auth.Subscribe}}
	ann, bob := hubtest.May(t, "ann", all), hubtest.May(t, "bob", all)
	ann.Channels = []string{"chat:a"}
	g := think("ann")
	n := startGated(t, hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann, "bob": bob}}, g)
	c := n.dial(t, "?token=ann", nil)
	c.next()
	<-g.asked
	c.send(`{"id":1,"connect":{"token":"bob"}}`)
	if ev := c.next(); ev.ID != 1 || ev.Connected == nil {
		t.Fatalf("got %s", show(ev))
	}
	close(g.answer)
	c.send(`{"id":2,"ping":{}}`)
	if ev := c.next(); ev.Pong == nil {
		t.Errorf("got %s: the hook was not asked about bob", show(ev))
	}
}

// TestSubscribedAnewAtTheEndOfAToken: a subscription that begins while the one before it is
// being withdrawn is narrowed by a refresh like any other.
func TestSubscribedAnewAtTheEndOfAToken(t *testing.T) {
	ann := hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}})
	tok := one(t, "ann", "chat:secret", auth.Subscribe)
	tok.TokenID = "t2"
	n := start(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann, "less": hubtest.May(t, "ann", nil), "tok": tok}})
	c := n.dial(t, "?token=ann", nil)
	c.next()
	c.subscribe(1, "chat:secret", `,"token":"tok"`)
	release := n.hub.Delay()
	n.registry.Revoke(func(c auth.Claims) bool { return c.TokenID == "t2" })
	c.send(`{"id":2,"subscribe":{"channel":"chat:secret"}}`) // by the connection's own token
	if ev := c.next(); ev.ID != 2 || ev.Subscribed == nil {
		t.Fatalf("got %s", show(ev))
	}
	release()
	if ev := c.next(); ev.Unsubscribed == nil || ev.Unsubscribed.Code != protocol.ErrorRevoked {
		t.Fatalf("got %s", show(ev))
	}
	c.send(`{"id":3,"refresh":{"token":"less"}}`)
	if ev := c.next(); ev.Connected == nil {
		t.Fatalf("got %s", show(ev))
	}
	c.send(`{"id":4,"ping":{}}`) // the answer to the refresh comes before what it ends
	for ev := c.next(); ev.Pong == nil; ev = c.next() {
	}
	n.hub.Publish("chat:secret", `"secret"`)
	c.send(`{"id":5,"ping":{}}`)
	for ev := c.next(); ev.Pong == nil; ev = c.next() {
		if ev.Message != nil {
			t.Fatal("delivered after a refresh that allows nothing")
		}
	}
}

// TestNamedOutlivesAFailure: a subscribe that cannot begin does not end the subscription that
// the token has named, and one that fails later tells of it.
func TestNamedOutlivesAFailure(t *testing.T) {
	ann := hubtest.May(t, "ann", map[string][]auth.Action{"chat:>": {auth.Subscribe}})
	ann.Channels = []string{"chat:a"}
	n := start(t, nil, hubtest.Tokens{Known: map[string]auth.Claims{"ann": ann}})
	c := n.dial(t, "?token=ann", nil)
	c.next()
	if ev := c.next(); ev.Subscribed == nil {
		t.Fatalf("got %s", show(ev))
	}
	c.send(`{"id":2,"subscribe":{"channel":"chat:a","durable":true}}`)
	if ev := c.next(); ev.ID != 2 || ev.Error == nil {
		t.Fatalf("got %s", show(ev))
	}
	n.hub.Publish("chat:a", `1`)
	if ev := c.next(); ev.Message == nil {
		t.Fatalf("got %s, want what the token's subscription gets", show(ev))
	}
	n.hub.Fail("chat:a", fanout.ErrUnavailable)
	c.send(`{"id":3,"subscribe":{"channel":"chat:a"}}`)
	got := map[bool]protocol.Event{}
	for range 2 {
		ev := c.next()
		got[ev.ID == 3] = ev
	}
	if e := got[true]; e.Error == nil {
		t.Errorf("got %s for the command", show(e))
	}
	if e := got[false]; e.Unsubscribed == nil || !e.Unsubscribed.Code.Resubscribe() {
		t.Errorf("got %s for the subscription whose place was taken", show(e))
	}
}
