package fanout_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// clocked sets the log's clock to the bubble's.
func (l *memLog) clocked() *memLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock = time.Now().UnixNano()
	return l
}

// quiet ends the node within the bubble, which waits for its goroutines.
func (n *node) quiet(t testing.TB) {
	t.Helper()
	synctest.Wait()
}

// TestQuietPositionIsRefreshed: a client of a channel where nothing happens is given
// fresh positions long before its own could not be judged any more; memLog keeps
// messages for an hour, so from a quarter of an hour on.
func TestQuietPositionIsRefreshed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := calm(0, 1).clocked()
		n := newNode(t, l, true, nil)
		n.publish(t, "t:quiet", 1, 1)
		r := n.subscribe(t, "t:quiet", fanout.Start{})
		time.Sleep(10 * time.Minute) //nolint:forbidigo // the bubble's clock
		n.log.clocked()
		n.publish(t, "t:other", 2, 5)
		n.quiet(t)
		r.expect("subscribed t:quiet") // young enough
		time.Sleep(6 * time.Minute)    //nolint:forbidigo // the bubble's clock
		n.quiet(t)
		r.expect("position t:quiet")
		if r.at.Offset != 5 {
			t.Errorf("fresh position at %d, want the stream's end, 5", r.at.Offset)
		}
		fresh := r.at
		if prior := r.last.n.Prior; prior.IsZero() || prior.Offset >= fresh.Offset {
			t.Errorf("the prior position is %v", prior)
		}
		r.client.Close()
		n.publish(t, "t:quiet", 6, 6)
		n.quiet(t)
		l.ageOut(l.partition(mustChannel(t, "t:quiet")), 5)
		back := n.subscribe(t, "t:quiet", fanout.Start{Positions: []fanout.Position{fresh}})
		back.expect("subscribed t:quiet", "m6", "caught up t:quiet")
	})
}

// TestIdleSourceIsDropped: a channel is followed for Linger after its last subscriber.
func TestIdleSourceIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, calm(0, 1).clocked(), true, nil)
		r, other := n.subscribe(t, "t:a", fanout.Start{}), n.subscribe(t, "t:b", fanout.Start{})
		n.publish(t, "t:a", 1, 10)
		r.await("m10")
		at := r.at
		r.client.Close()
		time.Sleep(45 * time.Second) //nolint:forbidigo // the bubble's clock
		n.quiet(t)
		if n.metric(t, "sources") != 2 || n.metric(t, "ring_bytes") == 0 {
			t.Error("dropped before it lingered")
		}
		n.publish(t, "t:a", 11, 12)
		n.quiet(t)
		reads := n.gate.reads.Load()
		back := n.subscribe(t, "t:a", fanout.Start{Positions: []fanout.Position{at}})
		back.expect("subscribed t:a", "m11", "m12", "caught up t:a")
		if n.gate.reads.Load() != reads {
			t.Error("a crowd that comes back finds no ring")
		}
		back.client.Close()
		time.Sleep(70 * time.Second) //nolint:forbidigo // the bubble's clock
		n.quiet(t)
		if n.metric(t, "sources") != 1 || n.metric(t, "ring_bytes") != 0 || n.feed.watches() != 1 {
			t.Errorf("%v sources, %v bytes, %d watched", n.metric(t, "sources"), n.metric(t, "ring_bytes"), n.feed.watches())
		}
		again := n.subscribe(t, "t:a", fanout.Start{Positions: []fanout.Position{at}})
		again.expect("subscribed t:a", "m11", "m12", "caught up t:a")
		n.publish(t, "t:b", 13, 13)
		other.expect("subscribed t:b", "m13")
	})
}

func (f *memFeed) watches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watched)
}

// TestTooManyIdleSources: MaxIdle bounds the channels that linger.
func TestTooManyIdleSources(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, calm(0, 1).clocked(), true, func(cfg *fanout.HubConfig) { cfg.MaxIdle, cfg.Linger = 3, time.Hour })
		for _, c := range []string{"t:a", "t:b", "t:c", "t:d", "t:e"} {
			n.subscribe(t, c, fanout.Start{}).client.Close()
		}
		used := n.subscribe(t, "t:f", fanout.Start{})
		time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's clock
		n.quiet(t)
		if got := n.metric(t, "sources"); got != 4 {
			t.Errorf("%v sources, want 3 idle and 1 in use", got)
		}
		n.publish(t, "t:f", 1, 1)
		used.expect("subscribed t:f", "m1")
	})
}

// TestLostLastMessageIsFound: on a feed that may lose a message without a trace, the
// sweep finds the last one, of a channel and of a pattern.
func TestLostLastMessageIsFound(t *testing.T) {
	t.Parallel()
	for _, filter := range []string{"t:a", "t:*"} {
		t.Run(filter, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, calm(0, 1).clocked(), false, nil)
				r := n.subscribe(t, filter, fanout.Start{})
				time.Sleep(time.Second) //nolint:forbidigo // past the first look, on the bubble's clock
				n.publish(t, "t:a", 1, 2)
				n.quiet(t)
				n.losing(t, func() { n.publish(t, "t:a", 3, 3) })
				n.quiet(t)
				r.take()
				if len(r.told) != 3 {
					t.Fatalf("told %q", r.told)
				}
				time.Sleep(6 * time.Second) //nolint:forbidigo // the bubble's clock
				n.quiet(t)
				r.expect("subscribed "+filter, "m1", "m2", "m3")
				if n.metric(t, "repairs_total") == 0 {
					t.Error("no repair is counted")
				}
			})
		})
	}
}

// losing publishes on a feed that brings nothing.
func (n *node) losing(t testing.TB, publish func()) {
	t.Helper()
	n.log.mu.Lock()
	feeds := n.log.feeds
	n.log.feeds = nil
	n.log.mu.Unlock()
	publish()
	n.log.mu.Lock()
	n.log.feeds = feeds
	n.log.mu.Unlock()
}

// TestFirstLook: what was published before a new interest had reached every server
// is found a moment later, long before the sweep.
func TestFirstLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, calm(0, 1).clocked(), false, func(cfg *fanout.HubConfig) { cfg.SweepInterval = time.Hour })
		r := n.subscribe(t, "t:a", fanout.Start{})
		n.losing(t, func() { n.publish(t, "t:a", 1, 1) })
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		n.quiet(t)
		r.expect("subscribed t:a", "m1")
	})
}

// TestHoleIsReadOncePerNode: a hole in the feed shows with the next message.
func TestHoleIsReadOncePerNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, calm(0, 1).clocked(), false, func(cfg *fanout.HubConfig) { cfg.SweepInterval = time.Hour })
		readers := []*reader{}
		for range 50 {
			readers = append(readers, n.subscribe(t, "t:a", fanout.Start{}))
		}
		time.Sleep(time.Second) //nolint:forbidigo // past the first look, on the bubble's clock
		reads := n.gate.reads.Load()
		n.losing(t, func() { n.publish(t, "t:a", 1, 3) })
		n.publish(t, "t:a", 4, 5)
		n.quiet(t)
		for _, r := range readers {
			r.expect("subscribed t:a", "m1", "m2", "m3", "m4", "m5")
		}
		if got := n.gate.reads.Load() - reads; got != 1 {
			t.Errorf("%d reads for one hole", got)
		}
	})
}

// TestLogAway: while the log is away a hole waits, and heals by itself.
func TestLogAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, calm(0, 1).clocked(), true, nil)
		r := n.subscribe(t, "t:a", fanout.Start{})
		n.publish(t, "t:a", 1, 1)
		n.quiet(t)
		n.losing(t, func() { n.publish(t, "t:a", 2, 3) })
		n.log.mu.Lock()
		n.log.down = true
		n.log.mu.Unlock()
		n.Suspect("")
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		n.quiet(t)
		r.expect("subscribed t:a", "m1")
		n.log.setDown(false)
		time.Sleep(5 * time.Second) //nolint:forbidigo // longer than the longest wait between tries
		n.quiet(t)
		r.expect("m2", "m3")
	})
}
