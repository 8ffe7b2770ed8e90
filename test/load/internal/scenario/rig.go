//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// patience bounds every wait of a scenario.
const patience = time.Minute

// rig is a node under load with the clients that put it there. All of it belongs
// to the goroutine that runs the scenario.
type rig struct {
	cfg    Config
	node   *node // nil where the reference program is measured
	loop   *raw.Loop
	tally  *raw.Tally
	events [][]byte
	to     netip.AddrPort

	subs  []*raw.Subscriber
	lanes []*lane
	open  int   // publishes under way or queued
	live  bool  // messages are published at a steady rate
	err   error // the first failed publish
	ended bool
}

func newRig(ctx context.Context, cfg Config) (*rig, error) {
	events, err := loadEvents(cfg.Events)
	if err != nil {
		return nil, err
	}
	n, err := startNode(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r, err := newClients(cfg, n.address)
	if err != nil {
		n.stop()
		return nil, err
	}
	r.node, r.events = n, events
	return r, nil
}

// newClients returns a rig of clients alone.
func newClients(cfg Config, to netip.AddrPort) (*rig, error) {
	loop, err := raw.NewLoop()
	if err != nil {
		return nil, err
	}
	return &rig{cfg: cfg, loop: loop, tally: &raw.Tally{}, to: to}, nil
}

// close cuts the clients and ends the node. A second close does nothing.
func (r *rig) close() {
	if r.ended {
		return
	}
	r.ended = true
	r.loop.Close()
	if r.node != nil {
		r.node.stop()
	}
}

// wait runs the clients until cond holds, nothing may go wrong meanwhile.
func (r *rig) wait(ctx context.Context, what string, cond func() bool) error {
	return r.patient(ctx, patience, what, cond)
}

// patient is wait with another bound.
func (r *rig) patient(ctx context.Context, bound time.Duration, what string, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	err := r.loop.Run(ctx, func() bool { return r.err != nil || r.tally.Failed > 0 || cond() })
	if err != nil {
		err = fmt.Errorf("wait for %s (subscribed %d, received %d, publishes open %d): %w",
			what, r.tally.Subscribed, r.tally.Received, r.open, err)
	}
	return errors.Join(err, r.err, r.tally.Faults())
}

// pass runs the clients for a time.
func (r *rig) pass(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	return r.wait(ctx, "time to pass", func() bool { return time.Now().After(end) })
}

// connectWindow is how many handshakes are under way at once where haste is not
// what is measured.
const connectWindow = 64

// subscribe connects subscribers, one per name, and waits until all are subscribed.
func (r *rig) subscribe(ctx context.Context, names []string) error {
	for _, name := range names {
		s := raw.NewSubscriber(r.tally, name)
		if err := s.Connect(r.loop, r.to); err != nil {
			return err
		}
		r.subs = append(r.subs, s)
		if len(r.subs)-r.tally.Subscribed < connectWindow {
			continue
		}
		if err := r.wait(ctx, "subscriptions", func() bool { return len(r.subs)-r.tally.Subscribed < connectWindow }); err != nil {
			return err
		}
	}
	return r.wait(ctx, "subscriptions", func() bool { return r.tally.Subscribed >= len(r.subs) })
}

// received waits until so many more messages were received than before.
func (r *rig) received(ctx context.Context, before, more int) error {
	return r.wait(ctx, strconv.Itoa(more)+" messages", func() bool { return r.open == 0 && r.tally.Received >= before+more })
}

// measure notes the latencies from now on, of so many messages.
func (r *rig) measure(count int) {
	r.tally.Measure = true
	r.tally.Latencies = make([]time.Duration, 0, count)
}

// topic is a channel to publish on. Only one lane publishes on it, so that
// numbers grow in the order of the log.
type topic struct {
	name string
	lane *lane
	req  *raw.Request
	n    uint64 // of the last message
}

// lane is one HTTP connection with what waits for it.
type lane struct {
	rig   *rig
	pub   *raw.Publisher
	queue []job
}

type job struct {
	topic *topic
	sent  int64 // Unix nanoseconds; 0 is when it leaves
	done  func()
}

// topics makes channels, and connections to publish on them.
func (r *rig) topics(names []string, connections int) ([]*topic, error) {
	list := make([]*topic, len(names))
	for i, name := range names {
		list[i] = &topic{name: name, req: raw.NewRequest(name, r.events[i%len(r.events)])}
	}
	return list, r.relane(list, connections)
}

// relane gives topics new connections to be published on.
func (r *rig) relane(list []*topic, connections int) error {
	first := len(r.lanes)
	for range connections {
		p, err := raw.NewPublisher(r.loop, r.to)
		if err != nil {
			return err
		}
		r.lanes = append(r.lanes, &lane{rig: r, pub: p})
	}
	for i, t := range list {
		t.lane = r.lanes[first+i%connections]
	}
	return nil
}

// beginLive publishes at a steady rate until stopLive, round and round, and counts in
// published what it began.
func (r *rig) beginLive(list []*topic, perSecond int, published *int) error {
	interval := time.Second / time.Duration(perSecond)
	due := time.Now()
	r.live = true
	var tick func()
	tick = func() {
		// A round is finished, so that every channel has as many.
		for now := time.Now(); (r.live || *published%len(list) != 0) && !due.After(now); due = due.Add(interval) {
			r.publish(list[*published%len(list)], due, nil)
			*published++
		}
		if r.live || *published%len(list) != 0 {
			r.err = errors.Join(r.err, r.loop.At(due, tick))
		}
	}
	return r.loop.At(due, tick)
}

func (r *rig) stopLive() { r.live = false }

// publish queues a message; done, if any, is called when it was stored. A paced
// message counts as sent when it was due, even if its lane was busy then.
func (r *rig) publish(t *topic, due time.Time, done func()) {
	j := job{topic: t, done: done}
	if !due.IsZero() {
		j.sent = due.UnixNano()
	}
	r.open++
	t.lane.queue = append(t.lane.queue, j)
	t.lane.next()
}

func (l *lane) next() {
	if len(l.queue) == 0 || l.pub.Busy() || l.rig.err != nil {
		return
	}
	j := l.queue[0]
	l.queue = l.queue[1:]
	if j.sent == 0 {
		j.sent = time.Now().UnixNano()
	}
	j.topic.n++
	j.topic.req.Stamp(j.topic.n, j.sent)
	l.pub.Publish(j.topic.req, func(err error) {
		l.rig.open--
		if err != nil {
			l.rig.err = errors.Join(l.rig.err, err)
			return
		}
		if j.done != nil {
			j.done()
		}
		l.next()
	})
}

// pace publishes at a steady rate for a time: message i on the i-th topic, round
// and round. It returns how many when all are stored and each was received by
// each of subscribers.
func (r *rig) pace(ctx context.Context, list []*topic, perSecond int, d time.Duration, subscribers int) (count int, err error) {
	count = int(d.Seconds() * float64(perSecond))
	interval := time.Second / time.Duration(perSecond)
	due, before, i := time.Now().Add(interval), r.tally.Received, 0
	var tick func()
	tick = func() {
		for now := time.Now(); i < count && !due.After(now); due = due.Add(interval) {
			r.publish(list[i%len(list)], due, nil)
			i++
		}
		if i < count {
			r.err = errors.Join(r.err, r.loop.At(due, tick))
		}
	}
	if err := r.loop.At(due, tick); err != nil {
		return 0, err
	}
	return count, r.wait(ctx, "paced messages", func() bool {
		return i == count && r.open == 0 && r.tally.Received >= before+count*subscribers
	})
}

// channels returns names of channels, each repeated so often.
func channels(prefix string, count, repeat int) []string {
	var names []string
	for i := range count {
		name := namespace + ":" + prefix + "." + strconv.Itoa(i)
		names = append(names, slices.Repeat([]string{name}, repeat)...)
	}
	return names
}

// counted is a number of things in words.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
