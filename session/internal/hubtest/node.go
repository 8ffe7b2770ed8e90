package hubtest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/session"
)

// Tokens authenticates by a table; Open lets an empty token in.
type Tokens struct {
	Open  bool
	Known map[string]auth.Claims
}

// Authenticate implements session.Authenticator.
func (t Tokens) Authenticate(_ context.Context, token string) (auth.Claims, error) {
	if t.Open {
		return auth.Claims{Capabilities: auth.Everything()}, nil
	}
	switch claims, ok := t.Known[token]; {
	case token == "":
		return auth.Claims{}, auth.ErrMissing
	case token == "expired":
		return auth.Claims{}, auth.ErrExpired
	case token == "broken":
		return auth.Claims{}, errors.New("the verifier broke, secretly")
	case !ok:
		return auth.Claims{}, auth.ErrInvalid
	default:
		return claims, nil
	}
}

// AuthenticateSubscription implements session.SubscriptionAuthenticator: the claims must
// have the channel.
func (t Tokens) AuthenticateSubscription(_ context.Context, token, channel string) (auth.Claims, error) {
	claims, ok := t.Known[token]
	switch {
	case token == "expired":
		return auth.Claims{}, auth.ErrExpired
	case !ok || claims.Channel != channel:
		return auth.Claims{}, auth.ErrInvalid
	}
	return claims, nil
}

// May makes claims from "pattern": actions.
func May(tb testing.TB, subject string, by map[string][]auth.Action) auth.Claims {
	tb.Helper()
	caps, err := auth.NewCapabilities(by)
	if err != nil {
		tb.Fatal(err)
	}
	return auth.Claims{Subject: subject, Capabilities: caps}
}

// Start runs a registry on the hub until the test ends.
func (h *Hub) Start(tb testing.TB, cfg session.Config, a session.Authenticator) *session.Registry {
	tb.Helper()
	return h.StartWith(tb, cfg, a, func(*session.Services) {})
}

// StartWith is Start with other services as well.
func (h *Hub) StartWith(tb testing.TB, cfg session.Config, a session.Authenticator, change func(*session.Services)) *session.Registry {
	tb.Helper()
	subscriptions, _ := a.(session.SubscriptionAuthenticator)
	revocations, _ := a.(auth.Revocations)
	services := session.Services{
		NewClient: h.NewClient, History: h, Publisher: h, Auth: a, Subscriptions: subscriptions, Revocations: revocations,
	}
	change(&services)
	r, err := session.NewRegistry(cfg, services, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	r.Start(tb.Context())
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), 20*time.Second)
		defer cancel()
		if err := r.Drain(ctx); err != nil {
			tb.Errorf("drain: %v", err)
		}
		if n := h.Clients(); n != 0 {
			tb.Errorf("%d clients were not closed", n)
		}
	})
	return r
}

// Eventually polls cond until it holds; the deadline is far, for slow machines.
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("%s: did not come true in time", what)
		}
	}
}

// Pipes is a listener in memory, for tests in a synctest bubble.
type Pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// NewPipes returns a listener without connections.
func NewPipes() *Pipes { return &Pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

// Accept implements net.Listener.
func (p *Pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *Pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr implements net.Listener.
func (p *Pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// Dial connects.
func (p *Pipes) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
