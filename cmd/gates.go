package cmd

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/cmd/edge"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
)

// gates are the hooks where they are asked. Without any of a kind nothing is between.
type gates struct {
	node *Node
	conn *connectGate // nil without one
	subs map[string]*hook.Hook
	pubs map[string]*hook.Hook
}

func (n *Node) newGates(verifier edge.Authenticator) (*gates, error) {
	g := &gates{node: n, subs: map[string]*hook.Hook{}, pubs: map[string]*hook.Hook{}}
	if len(n.asks) == 0 {
		return g, nil
	}
	grants, err := auth.NewCapabilities(n.cfg.Auth.ConnectHook.Grants)
	if err != nil {
		return nil, fmt.Errorf("auth.connect_hook.grants: %w", err)
	}
	metrics := hook.NewMetrics(n.reg)
	for _, cfg := range n.asks {
		h := hook.New(cfg, metrics, n.log)
		n.undo.push("hook "+cfg.Name, func(context.Context) error { h.Close(); return nil })
		switch {
		case cfg.Name == connectHook:
			g.conn = &connectGate{hook: h, verifier: verifier, grants: grants, instead: n.cfg.Auth.ConnectHook.InsteadOfToken, log: n.log}
			for _, name := range n.cfg.Auth.ConnectHook.Headers {
				g.conn.headers = append(g.conn.headers, http.CanonicalHeaderKey(name))
			}
		case len(cfg.Name) > len(subscribeHook) && cfg.Name[:len(subscribeHook)] == subscribeHook:
			g.subs[cfg.Name[len(subscribeHook):]] = h
		default:
			g.pubs[cfg.Name[len(publishHook):]] = h
		}
	}
	return g, nil
}

func (g *gates) connect() session.ConnectGate {
	if g.conn == nil {
		return nil
	}
	return g.conn
}

func (g *gates) subscribe() session.SubscribeGate {
	if len(g.subs) == 0 {
		return nil
	}
	return subscribeGate(g.subs)
}

// slow are the namespaces whose publishes are asked about.
func (g *gates) slow() func(namespace string) bool {
	if len(g.pubs) == 0 {
		return nil
	}
	return func(namespace string) bool { return g.pubs[namespace] != nil }
}

func (g *gates) publisher(p publisher) publisher {
	if len(g.pubs) == 0 {
		return p
	}
	return &hookedPublisher{p, g.pubs}
}

// subscribeGate are the hooks by namespace.
type subscribeGate map[string]*hook.Hook

// Asks implements session.SubscribeGate.
func (g subscribeGate) Asks(namespace string) bool { return g[namespace] != nil }

// askedSubscribe is the question of a subscribe hook.
type askedSubscribe struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Channel string `json:"channel"`
	Pattern bool   `json:"pattern"`
	User    string `json:"user"`
	Key     string `json:"key,omitempty"`
	Client  string `json:"client,omitempty"`
}

// Allow implements session.SubscribeGate.
func (g subscribeGate) Allow(ctx context.Context, claims auth.Claims, client string, c fanout.Channel) error {
	verdicts, err := g[c.Namespace()].Ask(ctx, hook.Question{
		Caller: callerOf(claims.Publisher(), client),
		Body: askedSubscribe{
			ID: rand.Text(), Type: "subscribe", Channel: c.String(), Pattern: c.IsPattern(),
			User: claims.Subject, Key: claims.Key, Client: client,
		},
		Keys: []string{hook.KeyOf(claims.Publisher(), c.String())},
	})
	if err != nil {
		return err
	}
	return denial(verdicts[0])
}

// callerOf is whose question it is: who has no name is told apart by the connection.
func callerOf(publisher, client string) string {
	if publisher == (auth.Claims{}).Publisher() {
		return "client:" + client
	}
	return publisher
}

// denial is the verdict's, nil if it allows.
func denial(v hook.Verdict) error {
	if v.Denied == nil {
		return nil
	}
	return v.Denied
}

// connectGate asks about connections, after their token was checked or instead.
type connectGate struct {
	hook     *hook.Hook
	verifier session.Authenticator
	grants   auth.Capabilities
	instead  bool
	headers  []string
	log      *slog.Logger
	told     atomic.Int64 // Unix nanoseconds: when leftOut has last logged
}

// Headers implements session.ConnectGate.
func (g *connectGate) Headers() []string { return g.headers }
