//go:build linux

package scenario

import (
	"context"
	"fmt"
	"time"
)

// publishChannels is over how many channels publishing goes round.
const publishChannels = 1000

// publish measures durable publishing over HTTP, without subscribers: each
// connection sends the next message when the last is answered.
func publish(ctx context.Context, cfg Config) ([]Row, error) {
	var rows []Row
	levels := []string{"interval", "always"}
	if cfg.Sync != "" || cfg.URL != "" {
		levels = []string{cfg.Sync}
	}
	for _, level := range levels {
		cfg.Sync = level
		more, err := publishAt(ctx, cfg)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// publishAt measures a node at one level of durability.
func publishAt(ctx context.Context, cfg Config) (rows []Row, err error) {
	r, err := newRig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	for _, connections := range cfg.Sizes.PublishConnections {
		row := Row{Scenario: "publish", Case: counted(connections, "connection")}
		if cfg.Sync != "" {
			row.Case += ", sync " + cfg.Sync
		}
		cfg.logf("publish: %s", row.Case)
		if err := r.publishFor(ctx, &row, connections); err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (r *rig) publishFor(ctx context.Context, row *Row, connections int) error {
	list, err := r.topics(channels(fmt.Sprintf("publish%d", connections), max(publishChannels, connections), 1), connections)
	if err != nil {
		return err
	}
	d := r.cfg.Sizes.PublishFor
	from := time.Now().Add(d / 10)
	until := from.Add(d)
	var took []time.Duration
	// Each lane goes round over its own topics.
	var next func(i int)
	next = func(i int) {
		sent := time.Now()
		if sent.After(until) {
			return
		}
		r.publish(list[i], sent, func() {
			now := time.Now()
			if sent.After(from) && now.Before(until) {
				took = append(took, now.Sub(sent))
			}
			if i += connections; i >= len(list) {
				i %= connections
			}
			next(i)
		})
	}
	for i := range connections {
		next(i)
	}
	if err := r.wait(ctx, "the warm-up", func() bool { return time.Now().After(from) }); err != nil {
		return err
	}
	m := newMeter(r.node.process)
	if err := r.wait(ctx, "the publishes", func() bool { return time.Now().After(until) }); err != nil {
		return err
	}
	m.rate(row, "publishes/s", len(took))
	row.latencies(took)
	m.cpu(row, len(took))
	return r.wait(ctx, "the last answers", func() bool { return r.open == 0 })
}
