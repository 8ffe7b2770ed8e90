//go:build linux

package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// newCrowd starts a node with all subscribers on one channel, and publishes once.
func newCrowd(ctx context.Context, cfg Config) (*rig, []*topic, error) {
	r, err := newRig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	n := cfg.Sizes.FanoutSubscribers
	cfg.logf("connecting %d subscribers of 1 channel", n)
	err = r.subscribe(ctx, channels("crowd", 1, n))
	var list []*topic
	if err == nil {
		list, err = r.topics(channels("crowd", 1, 1), 1)
	}
	if err == nil {
		r.publish(list[0], time.Time{}, nil)
		err = r.received(ctx, 0, n)
	}
	if err != nil {
		r.close()
		return nil, nil, err
	}
	return r, list, nil
}

// The cases of fanout: the node's and, but for the burst, the reference's.
const (
	single = "one after the other"
	paced  = "paced"
	burst  = "all at once"
)

// fanout measures one channel with many subscribers, and beside it a bare loop of
// write(2) over as many sockets, with the same frame and the same clients.
func fanout(ctx context.Context, cfg Config) ([]Row, error) {
	s := cfg.Sizes
	r, list, err := newCrowd(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	rows := []Row{
		{Scenario: "fanout", Case: fmt.Sprintf("%d messages %s", s.FanoutSingles, single)},
		{Scenario: "fanout", Case: fmt.Sprintf("%d messages/s", s.FanoutPerSecond)},
		{Scenario: "fanout", Case: fmt.Sprintf("%d messages %s", s.FanoutBurst, burst)},
	}
	t := list[0]
	cfg.logf("fanout: %s", rows[0].Case)
	if err := r.singles(ctx, &rows[0], r.node.process, func() error {
		r.publish(t, time.Time{}, nil)
		return r.err
	}); err != nil {
		return nil, err
	}
	cfg.logf("fanout: %s", rows[1].Case)
	if err := r.paced(ctx, &rows[1], list, s.FanoutPerSecond, s.FanoutFor, s.FanoutSubscribers); err != nil {
		return nil, err
	}
	cfg.logf("fanout: %s", rows[2].Case)
	if err := r.burst(ctx, &rows[2], t); err != nil {
		return nil, err
	}
	sample := r.tally.Sample
	r.close()
	references, err := fanoutLimit(ctx, cfg, sample)
	if err != nil {
		return rows, err
	}
	for i, reference := range []*Row{&references[0], &references[1], &references[0]} {
		rows[i].against(reference)
	}
	for i := range references {
		references[i].against(&references[i])
	}
	return slices.Concat(rows, references), nil
}

func (r *Row) against(reference *Row) {
	r.versus(reference, "deliveries/s", "rate / limit")
	r.versus(reference, "server CPU s per million", "CPU / limit")
}

// singles sends each message when everybody has the one before: what is measured
// is one write per message and subscriber, nothing gathers.
func (r *rig) singles(ctx context.Context, row *Row, p *process, send func() error) error {
	subscribers, left := len(r.subs), r.cfg.Sizes.FanoutSingles-1
	before := r.tally.Received
	goal := before + subscribers
	var failed error
	r.tally.OnMessage = func(*raw.Subscriber) {
		if r.tally.Received == goal && left > 0 {
			left--
			goal += subscribers
			failed = send()
		}
	}
	defer func() { r.tally.OnMessage = nil }()
	r.measure(r.cfg.Sizes.FanoutSingles * subscribers)
	m := newMeter(p)
	if err := send(); err != nil {
		return err
	}
	err := r.wait(ctx, "single messages", func() bool { return failed != nil || left == 0 && r.open == 0 && r.tally.Received >= goal })
	if err == nil {
		err = failed
	}
	row.crowd(m, r.tally, r.tally.Received-before)
	return err
}

// burst publishes many messages as fast as one connection can.
func (r *rig) burst(ctx context.Context, row *Row, t *topic) error {
	count, before := r.cfg.Sizes.FanoutBurst, r.tally.Received
	r.measure(count * len(r.subs))
	m := newMeter(r.node.process)
	for range count {
		r.publish(t, time.Time{}, nil)
	}
	err := r.received(ctx, before, count*len(r.subs))
	row.crowd(m, r.tally, r.tally.Received-before)
	return err
}

func (r *Row) crowd(m meter, t *raw.Tally, deliveries int) {
	m.rate(r, "deliveries/s", deliveries)
	r.latencies(t.Latencies)
	m.cpu(r, deliveries)
	t.Measure = false
}

// fanoutLimit runs the reference program.
func fanoutLimit(ctx context.Context, cfg Config, payload []byte) ([]Row, error) {
	s := cfg.Sizes
	l, err := startLimit(ctx, cfg, payload, s.FanoutSubscribers, 0, 1)
	if err != nil {
		return nil, err
	}
	defer l.kill()
	r, err := newClients(cfg, l.address)
	if err != nil {
		return nil, err
	}
	defer r.close()
	cfg.logf("fanout: the limit")
	r.tally.NoOffsets = true
	if err := r.connectLimit(ctx, l, s.FanoutSubscribers); err != nil {
		return nil, err
	}
	rows := []Row{
		{Scenario: "fanout", Case: fmt.Sprintf("LIMIT, %d messages %s", s.FanoutSingles, single)},
		{Scenario: "fanout", Case: fmt.Sprintf("LIMIT, %d messages/s", s.FanoutPerSecond)},
	}
	if err := r.singles(ctx, &rows[0], l.process, func() error { return l.write(1, 0) }); err != nil {
		return nil, err
	}
	count, before := int(s.FanoutFor.Seconds()*float64(s.FanoutPerSecond)), r.tally.Received
	r.measure(count * len(r.subs))
	m := newMeter(l.process)
	if err := l.write(count, time.Second/time.Duration(s.FanoutPerSecond)); err != nil {
		return nil, err
	}
	err = r.received(ctx, before, count*len(r.subs))
	rows[1].crowd(m, r.tally, r.tally.Received-before)
	return rows, err
}

// connectLimit connects to the reference program, which knows no subscriptions.
func (r *rig) connectLimit(ctx context.Context, l *limit, count int) error {
	for range count {
		s := raw.NewSubscriber(r.tally, "limit")
		if err := s.Connect(r.loop, r.to); err != nil {
			return err
		}
		r.subs = append(r.subs, s)
	}
	ready := make(chan error, 1)
	l.wg.Go(func() {
		_, err := l.await(ctx, "ready")
		ready <- err
	})
	var err error
	return r.wait(ctx, "the limit", func() bool {
		select {
		case err = <-ready:
			r.err = err
			return true
		default:
			return false
		}
	})
}
