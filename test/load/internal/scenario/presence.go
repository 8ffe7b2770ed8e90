//go:build linux

package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// presence measures a crowd that joins one channel at once, each connection with a token
// of a user: in a namespace without presence, with it, with it where all of them watch,
// and so on two nodes.
func presence(ctx context.Context, cfg Config) ([]Row, error) {
	var rows []Row
	for _, v := range []gathering{{}, {presence: true}, {presence: true, watch: true}, {presence: true, watch: true, two: true}} {
		if v.two && cfg.URL != "" {
			continue
		}
		row := Row{Scenario: "presence", Case: fmt.Sprintf("%d join, %s", cfg.Sizes.PresenceMembers, v)}
		cfg.logf("presence: %s", row.Case)
		if err := presenceOnce(ctx, cfg, &row, v); err != nil {
			return append(rows, row), err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// gathering is one kind of crowd.
type gathering struct{ presence, watch, two bool }

func (v gathering) String() string {
	switch {
	case v.two:
		return "all watch, two nodes"
	case v.watch:
		return "all watch"
	case v.presence:
		return "nobody watches"
	}
	return "no presence"
}

func presenceOnce(ctx context.Context, cfg Config, row *Row, v gathering) error {
	cfg.Secret, cfg.Presence = secret, v.presence
	nodes, stop, err := v.nodes(ctx, cfg)
	if err != nil {
		return err
	}
	defer stop()
	r, err := newClients(cfg, nodes[0].address)
	if err != nil {
		return err
	}
	defer r.close()
	cpu := func() (sum time.Duration) {
		for _, n := range nodes {
			sum += n.cpu()
		}
		return sum
	}
	// The channel is open when the crowd comes.
	if err := r.attend(ctx, nodes, 0, 2, false); err != nil {
		return err
	}
	n, began, used := cfg.Sizes.PresenceMembers, time.Now(), cpu()
	if err := r.attend(ctx, nodes, 2, n, v.watch); err != nil {
		return err
	}
	joined := time.Since(began)
	told := func() bool {
		for _, s := range r.subs {
			if s.Presence && s.Members != n+2 {
				return false
			}
		}
		return true
	}
	if err := r.wait(ctx, "all to know the number of members", told); err != nil {
		return err
	}
	row.add("joins/s", float64(n)/joined.Seconds())
	row.add("all joined ms", ms(joined))
	row.add("all told ms", ms(time.Since(began)))
	row.add("server CPU ms", ms(cpu()-used))
	row.add("pushes", float64(r.tally.Pushes))
	row.add("pushed KB", float64(r.tally.PushBytes)/1e3)
	// Nothing more comes when nothing happens.
	before := r.tally.Pushes
	err = r.pass(ctx, afterwards)
	row.add("pushes afterwards", float64(r.tally.Pushes-before))
	return err
}

func (v gathering) nodes(ctx context.Context, cfg Config) ([]*node, func(), error) {
	if !v.two {
		n, err := startNode(ctx, cfg)
		if err != nil {
			return nil, nil, err
		}
		return []*node{n}, n.stop, nil
	}
	cfg.Sizes.CrowdNodes = 2
	c, err := newCluster(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	return c.nodes, c.stop, nil
}

// attend connects n members, numbered from first, to the nodes in turn.
func (r *rig) attend(ctx context.Context, nodes []*node, first, n int, watch bool) error {
	var to []netip.AddrPort
	for _, node := range nodes {
		to = append(to, node.address)
	}
	for i := first; i < first+n; i++ {
		token, err := mint(fmt.Sprintf("user-%d", i))
		if err != nil {
			return err
		}
		s := raw.NewSubscriber(r.tally, namespace+":presence")
		s.Presence = watch
		if err := s.ConnectPeer(r.loop, raw.Peer{To: to[i%len(to)], Token: token}); err != nil {
			return err
		}
		r.subs = append(r.subs, s)
		if err := r.handshakes(ctx, r.cfg.Sizes.ConnectWindow); err != nil {
			return err
		}
	}
	return r.wait(ctx, "subscriptions", func() bool { return r.tally.Subscribed == len(r.subs) })
}
