//go:build linux

package bench

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// Bounds of how many handshakes all workers together have under way.
const (
	calmWindow  = 128  // where connecting is not what is measured
	stormWindow = 1024 // below a listener's usual backlog, beyond which clients wait for seconds
)

// connectPatience is how long a worker waits without any connection getting ready.
const connectPatience = 30 * time.Second

// perSource is how many connections one local address has to one node: less than
// the kernel's range of ports, so that other programs have some too.
const perSource = 20_000

// client states.
const (
	waiting = iota
	opening
	subscribed
	ended
)

// clients are the subscribers of a worker.
type clients struct {
	w       *worker
	list    []*raw.Subscriber
	state   []uint8
	started []time.Time // when it was due to connect
	finals  []uint64    // by channel, with Replay
	open    int
	failed  int
	dialed  int
	expired bool      // the connecting took too long
	last    time.Time // something happened, or nothing was to
	alarm   time.Time // that the loop was set to
}

func (c *clients) init(w *worker) {
	c.w = w
	w.tally.OnLatency = w.measured.DeliverLatency.record
	w.tally.Measure = w.spec.Options.Scenario.live()
	w.tally.OnSubscribed = c.subscribed
	w.tally.OnFailed = c.fail
	w.tally.OnMessage = c.message
	o := w.spec.Options
	for j := w.spec.Index; j < o.Connections; j += o.Processes {
		s := raw.NewSubscriber(&w.tally, "")
		s.Tag = len(c.list)
		c.list = append(c.list, s)
	}
	c.state = make([]uint8, len(c.list))
	c.started = make([]time.Time, len(c.list))
}

// global is a client's number among those of all workers.
func (c *clients) global(tag int) int { return c.w.spec.Index + tag*c.w.spec.Options.Processes }

func (c *clients) channel(tag int) int { return c.global(tag) % c.w.spec.Options.Channels }

func (c *clients) subscribed(s *raw.Subscriber) {
	if c.state[s.Tag] != opening {
		return
	}
	now := time.Now()
	c.state[s.Tag] = subscribed
	c.open++
	c.w.measured.Opened++
	c.last = now
	c.w.measured.Connecting.To = now.UnixNano()
	c.w.measured.ConnectLatency.record(now.Sub(c.started[s.Tag]))
	if t := c.w.topics[c.channel(s.Tag)]; t != nil {
		t.pilot = s
	}
}

func (c *clients) fail(s *raw.Subscriber, err error) {
	if c.state[s.Tag] == ended {
		return
	}
	if c.state[s.Tag] == subscribed {
		c.open--
	}
	c.state[s.Tag] = ended
	c.failed++
	c.last = time.Now()
	c.w.fault("connection", err)
	if t := c.w.topics[c.channel(s.Tag)]; t != nil && t.pilot == s {
		t.pilot = c.before(s)
		t.lane.next()
	}
}

// before finds the subscriber of the same channel that precedes s, nil if none does. The
// first pilot is the last of them, so each is looked at once, however many end.
func (c *clients) before(s *raw.Subscriber) *raw.Subscriber {
	o := &c.w.spec.Options
	for j := c.global(s.Tag) - o.Channels; j >= 0; j -= o.Channels {
		if j%o.Processes != c.w.spec.Index {
			continue
		}
		if tag := j / o.Processes; c.state[tag] == subscribed {
			return c.list[tag]
		}
	}
	return nil
}

// message is called for every one.
func (c *clients) message(s *raw.Subscriber) {
	if c.finals != nil {
		if s.N == c.finals[c.channel(s.Tag)] && s.Lacks == 0 {
			c.w.measured.Complete++
			c.w.measured.CompleteLatency.record(time.Since(c.started[s.Tag]))
		}
		return
	}
	if len(c.w.topics) == 0 {
		return
	}
	if t := c.w.topics[c.channel(s.Tag)]; t != nil && t.pilot == s && t.lane.blocked {
		t.lane.next()
	}
}

// connect opens all connections, so many at a time and so many a second.
func (w *worker) connect(ctx context.Context, o order) error {
	c := &w.clients
	opts := w.spec.Options
	window := calmWindow
	if opts.Scenario == Connect || opts.Scenario == Replay {
		window = stormWindow
		w.began = used()
	}
	if opts.Scenario == Replay {
		c.finals = o.Finals
		w.measured.Receiving.From = time.Now().UnixNano()
	}
	window = max(1, window/opts.Processes)
	start := time.Now()
	c.last = start
	w.measured.Connecting.From = start.UnixNano()
	received := w.watch()
	err := w.until(ctx, func() bool {
		received()
		c.dial(start, window, o)
		if c.open+c.failed == c.dialed {
			c.last = time.Now()
		}
		if time.Since(c.last) > connectPatience {
			c.expire()
		}
		return c.open+c.failed == len(c.list) || c.expired || w.stop && c.open+c.failed == c.dialed
	})
	switch opts.Scenario {
	case Connect:
		w.spent()
	case Idle:
		w.began = used() // what counts is the time after
	default:
	}
	return err
}

// due is when the next connection is to begin: at once, but in a connect storm with a
// rate. That a storm's window is full makes it no later: it counts into the latency.
func (c *clients) due(start time.Time) time.Time {
	o := &c.w.spec.Options
	if o.Scenario != Connect || o.Rate == 0 {
		return time.Now()
	}
	return start.Add(time.Duration(float64(c.global(c.dialed)) / o.Rate * float64(time.Second)))
}

// wake has the loop go round again at a time, for dial.
func (c *clients) wake(at time.Time) {
	if c.alarm != at {
		c.alarm = at
		_ = c.w.loop.At(at, func() {}) // fails only for a time before 1970
	}
}

// dial fills the window of connections under way.
func (c *clients) dial(start time.Time, window int, o order) {
	for c.dialed < len(c.list) && c.dialed-c.open-c.failed < window && !c.w.stop {
		due := c.due(start)
		if due.After(time.Now()) {
			c.wake(due)
			return
		}
		s := c.list[c.dialed]
		c.dialed++
		c.state[s.Tag] = opening
		c.started[s.Tag] = due
		if o.Positions != nil {
			s.Position, s.N = o.Positions[c.channel(s.Tag)], 1
		}
		s.Channel = c.w.spec.channel(c.channel(s.Tag))
		peer, err := c.peer(s.Tag)
		if err == nil {
			err = s.ConnectPeer(c.w.loop, peer)
		}
		if err != nil {
			c.fail(s, err)
		}
	}
}

// expire gives up what is not ready.
func (c *clients) expire() {
	c.expired = true
	for i, s := range c.list {
		switch c.state[i] {
		case opening:
			s.Cut()
			c.fail(s, fmt.Errorf("%w within %v", errNotReady, connectPatience))
		case waiting:
			c.fail(s, errNotBegun)
		}
	}
}

// peer is whom a client connects to, and as whom.
func (c *clients) peer(tag int) (raw.Peer, error) {
	j := c.global(tag)
	n := c.w.spec.nodeOf(j)
	token, err := c.w.spec.Options.token(fmt.Sprintf("bench-%s-%d", c.w.spec.Run, j))
	return raw.Peer{To: n.Address, From: c.w.spec.source(n, j), Host: n.Host, Token: token}, err
}

// source is the local address of a connection: loopback has 16 million, anything
// else is left to the kernel.
func (s *spec) source(n node, connection int) netip.Addr {
	sources := (s.Options.Connections/len(s.Nodes) + perSource) / perSource
	if sources < 2 || !n.Address.Addr().IsLoopback() {
		return netip.Addr{}
	}
	i := connection / len(s.Nodes) % sources
	return netip.AddrFrom4([4]byte{127, 0, byte(i / 250), byte(1 + i%250)})
}
