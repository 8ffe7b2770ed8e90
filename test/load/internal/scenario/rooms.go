//go:build linux

package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// publishLanes is how many connections publish where publishing is not what is measured.
const publishLanes = 16

// newRooms starts a node with subscribers in many small channels, and publishes
// once on each.
func newRooms(ctx context.Context, cfg Config) (*rig, []*topic, error) {
	r, err := newRig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	s := cfg.Sizes
	cfg.logf("connecting %d subscribers of %d channels", s.Rooms*s.RoomSize, s.Rooms)
	names := channels("room", s.Rooms, s.RoomSize)
	err = r.subscribe(ctx, names)
	var list []*topic
	if err == nil {
		list, err = r.topics(slices.Compact(names), publishLanes)
	}
	if err == nil {
		for _, t := range list {
			r.publish(t, time.Time{}, nil)
		}
		err = r.received(ctx, 0, len(names))
	}
	if err != nil {
		r.close()
		return nil, nil, err
	}
	return r, list, nil
}

// latency measures from when a message was due to be published to its delivery,
// at 5,000 deliveries per second: to many small channels, and to one large.
func latency(ctx context.Context, cfg Config) ([]Row, error) {
	s := cfg.Sizes
	r, list, err := newRooms(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	cfg.logf("latency: %d messages per second", s.RoomsPerSecond)
	row := Row{Scenario: "latency", Case: fmt.Sprintf("%d channels x %d subscribers, %d messages/s", s.Rooms, s.RoomSize, s.RoomsPerSecond)}
	if err := r.paced(ctx, &row, list, s.RoomsPerSecond, s.RoomsFor, s.RoomSize); err != nil {
		return nil, err
	}
	r.close()

	one, list, err := newCrowd(ctx, cfg)
	if err != nil {
		return []Row{row}, err
	}
	defer one.close()
	cfg.logf("latency: one message per second to %d", s.FanoutSubscribers)
	big := Row{Scenario: "latency", Case: fmt.Sprintf("1 channel x %d subscribers, 1 message/s", s.FanoutSubscribers)}
	err = one.paced(ctx, &big, list, 1, max(s.FanoutFor, time.Second), s.FanoutSubscribers)
	return []Row{row, big}, err
}

// paced publishes at a steady rate and measures.
func (r *rig) paced(ctx context.Context, row *Row, list []*topic, perSecond int, d time.Duration, subscribers int) error {
	r.measure(int(d.Seconds()*float64(perSecond)) * subscribers)
	m := newMeter(r.node.process)
	count, err := r.pace(ctx, list, perSecond, d, subscribers)
	if err != nil {
		return err
	}
	m.rate(row, "deliveries/s", count*subscribers)
	row.latencies(r.tally.Latencies)
	m.cpu(row, count*subscribers)
	r.tally.Measure = false
	return nil
}

// rooms measures many small channels at the rate at which publishers can go on:
// each connection publishes the next message when the last is stored.
func rooms(ctx context.Context, cfg Config) ([]Row, error) {
	s := cfg.Sizes
	r, list, err := newRooms(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	cfg.logf("rooms: as fast as %d publishers go", publishLanes)
	row := Row{Scenario: "rooms", Case: fmt.Sprintf("%d channels x %d subscribers, %d publishers", s.Rooms, s.RoomSize, publishLanes)}
	before, count := r.tally.Received, 0
	until := time.Now().Add(s.RoomsFor)
	var next func(i int)
	next = func(i int) {
		if time.Now().After(until) {
			return
		}
		count++
		r.publish(list[i], time.Time{}, func() {
			if i += publishLanes; i >= len(list) {
				i %= publishLanes
			}
			next(i)
		})
	}
	r.measure(1 << 20)
	m := newMeter(r.node.process)
	for i := range min(publishLanes, len(list)) {
		next(i)
	}
	err = r.wait(ctx, "messages in all rooms", func() bool {
		return r.open == 0 && time.Now().After(until) && r.tally.Received >= before+count*s.RoomSize
	})
	if err != nil {
		return nil, err
	}
	m.rate(&row, "publishes/s", count)
	m.rate(&row, "deliveries/s", count*s.RoomSize)
	row.latencies(r.tally.Latencies)
	m.cpu(&row, count*s.RoomSize)
	return []Row{row}, nil
}
