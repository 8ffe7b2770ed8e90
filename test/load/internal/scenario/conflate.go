//go:build linux

package scenario

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// conflate measures a board of prices: many keys in one channel, each with many values
// a second, to many subscribers that take a few messages a second, all as fast as they
// can, or everything, not conflated.
func conflate(ctx context.Context, cfg Config) ([]Row, error) {
	s := cfg.Sizes
	var rows []Row
	for _, c := range []struct{ name, options string }{
		{fmt.Sprintf("at most %d messages/s each", s.ConflateRate), fmt.Sprintf(`,"conflate":"key","max_rate":%d`, s.ConflateRate)},
		{"by key, as they take them", `,"conflate":"key"`},
		{"not conflated", ""},
	} {
		row := Row{Scenario: "conflate", Case: fmt.Sprintf("%d keys, %d publishes/s, %d subscribers, %s", s.ConflateKeys, s.ConflatePerSecond, s.ConflateSubscribers, c.name)}
		cfg.logf("conflate: %s", row.Case)
		if err := board(ctx, cfg, &row, c.options); err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// board publishes for a time and counts what comes in it.
func board(ctx context.Context, cfg Config, row *Row, options string) error {
	s := cfg.Sizes
	r, err := newRig(ctx, cfg)
	if err != nil {
		return err
	}
	defer r.close()
	r.tally.Conflated = true
	channel := channels("board", 1, 1)[0]
	list := make([]*topic, s.ConflateKeys)
	for i := range list {
		list[i] = &topic{name: channel, req: raw.NewKeyedRequest(channel, "k"+strconv.Itoa(i), r.events[i%len(r.events)])}
	}
	if err := r.relane(list, publishLanes); err != nil {
		return err
	}
	for _, t := range list {
		r.publish(t, time.Time{}, nil)
	}
	if err := r.wait(ctx, "the first value of each key", func() bool { return r.open == 0 }); err != nil {
		return err
	}
	for range s.ConflateSubscribers {
		sub := raw.NewSubscriber(r.tally, channel)
		sub.Options = options
		if err := sub.Connect(r.loop, r.to); err != nil {
			return err
		}
		r.subs = append(r.subs, sub)
	}
	begin := 0
	if options != "" {
		begin = s.ConflateKeys * s.ConflateSubscribers // the newest of each key
	}
	m := newMeter(r.node.process)
	if err := r.wait(ctx, "the newest of each key", func() bool {
		return r.tally.Subscribed == len(r.subs) && r.tally.Received >= begin
	}); err != nil {
		return err
	}
	ready := m.elapsed()
	published, before := 0, r.tally.Received
	m = newMeter(r.node.process)
	if err := r.beginLive(list, s.ConflatePerSecond, &published); err != nil {
		return err
	}
	if err := r.pass(ctx, s.ConflateFor); err != nil {
		return err
	}
	deliveries := r.tally.Received - before
	m.rate(row, "publishes/s", published-r.open)
	m.rate(row, "deliveries/s", deliveries)
	row.add("processors of the node", (m.p.cpu()-m.node).Seconds()/m.elapsed().Seconds())
	if begin > 0 {
		row.add("all have all keys after ms", float64(ready.Milliseconds()))
	}
	r.stopLive()
	return nil
}
