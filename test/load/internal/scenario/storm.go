//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// afterwards is how long messages that come twice are looked for.
const afterwards = 300 * time.Millisecond

// gathered is how many messages the reference program gathers in a write: about
// as many bytes as a node does.
const gathered = 32

// storm measures the return of many clients at once, each of which missed
// messages: from the first connection attempt to the last client's last message.
func storm(ctx context.Context, cfg Config) ([]Row, error) {
	s := cfg.Sizes
	var rows []Row
	var sample []byte
	for _, v := range []variant{{1, false, 0}, {s.StormChannels, false, 0}, {1, true, 0}, {s.StormChannels, true, 0}, {s.StormChannels, true, s.StormLive}} {
		if v.restart && cfg.URL != "" {
			continue
		}
		row := Row{Scenario: "storm", Case: fmt.Sprintf("%d clients, %s, %d missed", s.StormClients, counted(v.channels, "channel"), s.StormMissed)}
		if v.restart {
			row.Case += ", node restarted"
		}
		if v.live > 0 {
			row.Case += fmt.Sprintf(", %d live messages/s", v.live)
		}
		cfg.logf("storm: %s", row.Case)
		got, err := stormOnce(ctx, cfg, &row, v)
		if err != nil {
			return append(rows, row), err
		}
		sample = got
		rows = append(rows, row)
	}
	for _, gather := range []int{gathered, 1} {
		row, err := stormLimit(ctx, cfg, sample, gather)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	fastest := &rows[len(rows)-2]
	for i := range rows {
		rows[i].versus(fastest, complete, "time / limit")
	}
	return rows, nil
}

// variant is one kind of storm.
type variant struct {
	channels int
	restart  bool // of the node, before the return: nothing is in memory then
	live     int  // messages per second, over all channels, during the return
}

func stormOnce(ctx context.Context, cfg Config, row *Row, v variant) (sample []byte, err error) {
	s, count := cfg.Sizes, v.channels
	r, err := newRig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	names := channels("storm", count, s.StormClients/count)
	if err := r.subscribe(ctx, names); err != nil {
		return nil, err
	}
	list, err := r.topics(slices.Compact(names), min(count, publishLanes))
	if err != nil {
		return nil, err
	}
	for _, sub := range r.subs {
		sub.Keep = true
	}
	publishAll := func(times int) {
		for range times {
			for _, t := range list {
				r.publish(t, time.Time{}, nil)
			}
		}
	}
	publishAll(2)
	if err := r.received(ctx, 0, 2*len(r.subs)); err != nil {
		return nil, err
	}
	for _, sub := range r.subs {
		sub.Cut()
		sub.Keep = false
	}
	publishAll(s.StormMissed)
	if err := r.wait(ctx, "missed messages", func() bool { return r.open == 0 }); err != nil {
		return nil, err
	}
	if v.restart {
		if err := r.node.restart(ctx); err != nil {
			return nil, err
		}
		r.to = r.node.address
	}
	live := 0
	if v.live > 0 {
		// After a restart the connections to publish on are gone.
		if err := errors.Join(r.relane(list, min(count, publishLanes)), r.beginLive(list, v.live, &live)); err != nil {
			return nil, err
		}
	}
	err = r.comeBack(ctx, row, r.node.process, &live)
	return r.tally.Sample, err
}

// complete names what is measured.
const complete = "all complete ms"

// comeBack connects all subscribers at once and waits until each has what it missed.
// Messages that are published meanwhile are counted in live; each subscriber of their
// channel gets them too.
func (r *rig) comeBack(ctx context.Context, row *Row, p *process, live *int) error {
	missed, before := r.cfg.Sizes.StormMissed, r.tally.Received
	var finished []time.Duration
	m := newMeter(p)
	r.tally.OnMessage = func(s *raw.Subscriber) {
		if s.Count == missed {
			finished = append(finished, m.elapsed())
		}
	}
	for _, s := range r.subs {
		if err := s.Connect(r.loop, r.to); err != nil {
			return err
		}
	}
	err := r.wait(ctx, "the storm to pass", func() bool { return len(finished) == len(r.subs) })
	took := m.elapsed()
	r.stopLive()
	row.add(complete, ms(took))
	slices.Sort(finished)
	row.add("half complete ms", ms(quantile(finished, 0.5)))
	m.rate(row, "messages/s", r.tally.Received-before)
	m.cpu(row, r.tally.Received-before)
	// The last round of live messages goes on until every channel has as many.
	channels := r.cfg.Sizes.StormChannels
	expected := func() int { return before + missed*len(r.subs) + *live/channels*len(r.subs) }
	if err == nil {
		err = r.wait(ctx, "live messages", func() bool {
			return *live%channels == 0 && r.open == 0 && r.tally.Received >= expected()
		})
	}
	if err == nil {
		err = r.pass(ctx, afterwards)
	}
	row.add("lost", float64(expected()-r.tally.Received))
	row.add("twice", float64(r.tally.Duplicate))
	row.add("out of order", float64(r.tally.Disorder))
	return err
}

// stormLimit is the return to the reference program, which has the messages ready.
func stormLimit(ctx context.Context, cfg Config, payload []byte, gather int) (Row, error) {
	s := cfg.Sizes
	row := Row{Scenario: "storm", Case: fmt.Sprintf("LIMIT, %s per write", counted(gather, "message"))}
	cfg.logf("storm: %s", row.Case)
	l, err := startLimit(ctx, cfg, payload, s.StormClients, s.StormMissed, gather)
	if err != nil {
		return row, err
	}
	defer l.kill()
	r, err := newClients(cfg, l.address)
	if err != nil {
		return row, err
	}
	defer r.close()
	r.tally.NoOffsets = true
	for range s.StormClients {
		r.subs = append(r.subs, raw.NewSubscriber(r.tally, "limit"))
	}
	return row, r.comeBack(ctx, &row, l.process, new(int))
}
