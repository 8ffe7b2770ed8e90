package fanout_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// rare has nothing but what a test does find what the feed lost.
func rare(cfg *fanout.HubConfig) { cfg.SweepInterval, cfg.FirstLook = time.Hour, time.Hour }

// bubble is a test in a bubble, of one filter on one kind of feed.
type bubble struct {
	*testing.T

	filter string
	exact  bool
}

// bubbles runs a test with a channel and with a pattern that match t:a, on either feed, each
// in a bubble of its own.
func bubbles(t *testing.T, f func(bubble)) {
	t.Helper()
	for _, filter := range []string{"t:a", "t:*"} {
		for _, exact := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, exact %v", filter, exact), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { f(bubble{t, filter, exact}) })
			})
		}
	}
}

// TestAnnouncedLoss: what the feed says that it has lost is read at once, not when
// something follows that shows it.
func TestAnnouncedLoss(t *testing.T) {
	t.Parallel()
	bubbles(t, func(t bubble) {
		n := newNode(t, calm(0, 1).clocked(), t.exact, rare)
		r := n.subscribe(t, t.filter, fanout.Start{})
		n.losing(t, func() { n.publish(t, "t:a", 1, 1) })
		n.Suspect("")
		r.expect("subscribed "+t.filter, "m1")
		n.losing(t, func() { n.publish(t, "t:a", 2, 3) })
		n.Suspect("t/7") // is not its stream
		n.quiet(t)
		r.expect()
		n.Suspect(n.log.partition(mustChannel(t, "t:a")))
		r.expect("m2", "m3")
	})
}

// TestRepeatedByTheFeed: a new leader sends again what the old one had sent.
func TestRepeatedByTheFeed(t *testing.T) {
	t.Parallel()
	bubbles(t, func(t bubble) {
		n := newNode(t, calm(0, 1).clocked(), t.exact, rare)
		r := n.subscribe(t, t.filter, fanout.Start{})
		n.publish(t, "t:a", 1, 3)
		r.expect("subscribed "+t.filter, "m1", "m2", "m3")
		for _, m := range n.stored(t, "t:a") {
			n.Dispatch(m)
		}
		n.publish(t, "t:a", 4, 4)
		r.expect("m4")
	})
}

// TestShardCatchesUp: a shard that kept up no longer leaves messages out. Its cursors get
// them when it has handled what it had, and need not wait for one that follows.
func TestShardCatchesUp(t *testing.T) {
	t.Parallel()
	bubbles(t, func(t bubble) {
		n := newNode(t, calm(0, 1).clocked(), t.exact, func(cfg *fanout.HubConfig) {
			rare(cfg)
			cfg.Shards, cfg.ShardQueue = 1, 2
		})
		r := n.subscribe(t, t.filter, fanout.Start{})
		release := n.stall(t)
		n.publish(t, "t:a", 1, 9)
		n.quiet(t)
		if n.metric(t, "shard_overflow_total") == 0 {
			t.Error("the shard has room for all: nothing is tested")
		}
		release()
		r.expect(join([]string{"subscribed " + t.filter}, msgs(1, 9))...)
	})
}
