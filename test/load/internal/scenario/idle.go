//go:build linux

package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// secret signs the tokens of idle's users. It protects nothing.
const secret = "a secret of the load generator, which protects nothing"

// idle measures the memory of connections on which nothing happens: each with a
// token and one subscription, of a channel that all share or of an own one.
func idle(ctx context.Context, cfg Config) ([]Row, error) {
	var rows []Row
	for _, own := range []bool{false, true} {
		row := Row{Scenario: "idle", Case: fmt.Sprintf("%d connections, 1 shared channel", cfg.Sizes.IdleConnections)}
		if own {
			row.Case = fmt.Sprintf("%d connections, each its own channel", cfg.Sizes.IdleConnections)
		}
		cfg.logf("idle: %s", row.Case)
		if err := idleOnce(ctx, cfg, &row, own); err != nil {
			return append(rows, row), err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func idleOnce(ctx context.Context, cfg Config, row *Row, own bool) error {
	cfg.Secret = secret
	r, err := newRig(ctx, cfg)
	if err != nil {
		return err
	}
	defer r.close()
	// What a node has with hardly a connection is another node's, of the same age: also
	// its own memory settles.
	control, err := startNode(ctx, cfg)
	if err != nil {
		return err
	}
	defer control.stop()
	const few = 100 // bring what is there once, however many follow
	to := r.to
	r.to = control.address
	if err := r.users(ctx, few, 0, own); err != nil {
		return err
	}
	r.to = to
	n := cfg.Sizes.IdleConnections
	if err := r.users(ctx, n+few, few, own); err != nil {
		return err
	}
	row.add("bytes each, at once", (r.node.memory()-control.memory())/float64(n))
	settled := time.Now().Add(cfg.Sizes.IdleSettle)
	err = r.patient(ctx, cfg.Sizes.IdleSettle+patience, "memory to settle", func() bool { return time.Now().After(settled) })
	row.add("bytes each, settled", (r.node.memory()-control.memory())/float64(n))
	row.add("node MB without", control.memory()/1e6)
	return err
}

// users connects n subscribers with tokens, numbered from first.
func (r *rig) users(ctx context.Context, n, first int, own bool) error {
	want := len(r.subs) + n
	for i := first; i < first+n; i++ {
		user, channel := fmt.Sprintf("user-%d", i), namespace+":idle"
		if own {
			channel = fmt.Sprintf("%s:idle.%s", namespace, user)
		}
		token, err := mint(user)
		if err != nil {
			return err
		}
		s := raw.NewSubscriber(r.tally, channel)
		if err := s.ConnectPeer(r.loop, raw.Peer{To: r.to, Token: token}); err != nil {
			return err
		}
		r.subs = append(r.subs, s)
		if err := r.handshakes(ctx, connectWindow); err != nil {
			return err
		}
	}
	return r.wait(ctx, "subscriptions", func() bool { return r.tally.Subscribed >= want })
}

// mint makes a token with the claims that a chat's user would have.
func mint(user string) (string, error) {
	cfg := auth.DefaultConfig().HMAC
	cfg.Secret = auth.NewSecret(secret)
	caps, err := auth.NewCapabilities(map[string][]auth.Action{
		namespace + ":>": {auth.Subscribe, auth.Publish, auth.History, auth.Presence}, "user:${sub}": {auth.Subscribe},
	})
	if err != nil {
		return "", err
	}
	return auth.Mint(cfg, auth.Claims{Subject: user, ExpiresAt: time.Now().Add(time.Hour), Capabilities: caps})
}

// connect measures connections with a subscription per second, many handshakes at
// once.
func connect(ctx context.Context, cfg Config) ([]Row, error) {
	r, err := newRig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	s := cfg.Sizes
	row := Row{Scenario: "connect", Case: fmt.Sprintf("%d connections, %d at once", s.ConnectConnections, s.ConnectWindow)}
	cfg.logf("connect: %s", row.Case)
	// The channel is open when the crowd comes.
	if err := r.subscribe(ctx, channels("connect", 1, 1)); err != nil {
		return nil, err
	}
	m := newMeter(r.node.process)
	for range s.ConnectConnections {
		sub := raw.NewSubscriber(r.tally, channels("connect", 1, 1)[0])
		if err := sub.Connect(r.loop, r.to); err != nil {
			return nil, err
		}
		r.subs = append(r.subs, sub)
		if err := r.handshakes(ctx, s.ConnectWindow); err != nil {
			return nil, err
		}
	}
	if err := r.handshakes(ctx, 1); err != nil {
		return nil, err
	}
	m.rate(&row, "connects/s", s.ConnectConnections)
	m.cpu(&row, s.ConnectConnections)
	return []Row{row}, nil
}

// handshakes waits until fewer than most are under way.
func (r *rig) handshakes(ctx context.Context, most int) error {
	if len(r.subs)-r.tally.Subscribed < most {
		return nil
	}
	return r.wait(ctx, "subscriptions", func() bool { return len(r.subs)-r.tally.Subscribed < most })
}
