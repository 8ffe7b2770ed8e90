package rivulet_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// TestExpiringTokenIsRenewed: the client answers expiring with a fresh token, which it
// asks for until it has one, and comes back with a fresh one where the token ended.
func TestExpiringTokenIsRenewed(t *testing.T) {
	tokens := make(chan string, 8)
	url := scripted(t, func(p *peer) {
		p.greet()
		tokens <- p.token()
		if p.n > 1 {
			p.idle()
		}
		p.send(protocol.Event{Expiring: &protocol.ExpiringEvent{InMS: 20_000}})
		c := p.receive()
		tokens <- c.Refresh.Token
		p.send(protocol.Event{ID: c.ID, Error: &protocol.ErrorEvent{Code: protocol.ErrorUnavailable, Temporary: true}})
		c = p.receive()
		tokens <- c.Refresh.Token
		p.send(protocol.Event{ID: c.ID, Connected: &protocol.ConnectedEvent{}})
		p.close(protocol.CloseTokenExpired)
	})
	var calls atomic.Int32
	opts := quick()
	opts.TokenFunc = func(context.Context) (string, error) {
		if calls.Add(1) == 2 {
			return "", errors.New("the token service is away")
		}
		return fmt.Sprint("t", calls.Load()), nil
	}
	open(t, url, opts)
	for _, want := range []string{"t1", "t3", "t4", "t5"} {
		if got := await(t, tokens); got != want {
			t.Errorf("token %s, want %s", got, want)
		}
	}
}

// TestFixedTokenIsNotRenewed: who has one token only cannot give another.
func TestFixedTokenIsNotRenewed(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.send(protocol.Event{Expiring: &protocol.ExpiringEvent{InMS: 20_000}})
		p.send(protocol.Event{Ping: &protocol.Ping{}})
		for range 2 { // in any order
			if c := p.receive(); c.Pong == nil && c.Subscribe == nil {
				t.Errorf("the client sent %+v", c)
			}
		}
		p.close(protocol.CloseUnauthorized)
	})
	opts := quick()
	opts.Token = "t"
	c := open(t, url, opts)
	_, err := c.Subscribe(limit(t), "a", rivulet.SubscribeOptions{})
	if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Code != protocol.CloseUnauthorized {
		t.Errorf("%v", err)
	}
}

// TestSubscriptionToken: it is asked for at each subscribe, and again after 4601.
func TestSubscriptionToken(t *testing.T) {
	got := make(chan protocol.SubscribeCommand, 8)
	url := scripted(t, func(p *peer) {
		p.greet()
		got <- *p.subscribed(protocol.SubscribedEvent{Position: at(1), Recovered: true})
		p.message("chat:a", 2)
		p.send(protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: "chat:a", Code: protocol.ErrorTokenExpired}})
		got <- *p.subscribed(protocol.SubscribedEvent{Position: at(2), Recovered: true})
		p.idle()
	})
	var calls atomic.Int32
	c := open(t, url, quick())
	subscribe(t, c, "chat:a", rivulet.SubscribeOptions{TokenFunc: func(_ context.Context, channel string) (string, error) {
		n := calls.Add(1)
		if n == 1 || n == 3 {
			return "", errors.New("the token service is away")
		}
		return fmt.Sprint(channel, " ", n), nil
	}})
	for _, want := range []protocol.SubscribeCommand{
		{Channel: "chat:a", Token: "chat:a 2"},
		{Channel: "chat:a", Token: "chat:a 4", Position: at(2)},
	} {
		if s := await(t, got); s.Token != want.Token || s.Position != want.Position || s.Channel != want.Channel {
			t.Errorf("subscribed with %+v, want %+v", s, want)
		}
	}
}

// TestSubscriptionTokenRefused: an error that is final ends the subscription.
func TestSubscriptionTokenRefused(t *testing.T) {
	c := open(t, scripted(t, func(p *peer) { p.greet(); p.idle() }), quick())
	_, err := c.Subscribe(limit(t), "chat:a", rivulet.SubscribeOptions{TokenFunc: func(context.Context, string) (string, error) {
		return "", &rivulet.Error{Code: protocol.ErrorForbidden, Message: "not for you"}
	}})
	if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Code != protocol.ErrorForbidden {
		t.Errorf("%v", err)
	}
}
