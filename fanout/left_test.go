package fanout_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestLeftByTwoPatterns: a channel's subscription that is behind still owes a message, which
// an older pattern has left to it, and a newer one to the older. Both end: the newer has it.
func TestLeftByTwoPatterns(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string][]string{
		"the pattern first": {"t:a.*", "t:a.2"}, "the channel first": {"t:a.2", "t:a.*"}, "the channel alone": {"t:a.2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, calm(0, 1).clocked(), true, func(cfg *fanout.HubConfig) { cfg.ReadBatch = 1 })
				n.publish(t, "t:a.2", 1, 3)
				at := n.position(t, "t:a.2", 1)
				r := n.subscribe(t, "t:a.*", fanout.Start{})
				r.add("t:>", fanout.Start{})
				r.await("subscribed t:>")
				reading, release := make(chan struct{}), make(chan struct{})
				var reads atomic.Int32
				n.gate.setHold(func(context.Context, fanout.Query) {
					if reads.Add(1) == 2 {
						close(reading)
						<-release
					}
				})
				r.add("t:a.2", fanout.Start{Positions: []fanout.Position{at}})
				<-reading
				r.await("m2")
				n.publish(t, "t:a.2", 4, 4) // owed by the channel's own
				n.publish(t, "t:b", 5, 5)
				r.await("m5")
				for _, c := range gone {
					if err := r.client.Unsubscribe(1, mustChannel(t, c)); err != nil {
						t.Fatal(err)
					}
				}
				close(release)
				n.publish(t, "t:b", 6, 6)
				all := []string{"m4", "m6"} // in no order, as they are of two channels
				_ = eventually(10*time.Second, func() bool { r.take(); return len(ofChannel(r.told, all...)) == len(all) })
				n.quiet(t)
				r.take()
				count := len(ofChannel(r.told, "m4"))
				if count != 1 {
					t.Errorf("m4 came %d times: told %q", count, r.told)
				}
			})
		})
	}
}
