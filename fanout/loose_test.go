package fanout_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// lossy is a node whose feed may lose messages, and where nothing but what a test does
// has them found.
func lossy(t testing.TB, l *memLog, change func(*fanout.HubConfig)) *node {
	t.Helper()
	return newNode(t, l, false, func(cfg *fanout.HubConfig) {
		cfg.SweepInterval, cfg.FirstLook = time.Hour, time.Hour
		if change != nil {
			change(cfg)
		}
	})
}

// purge empties t:a.
func (n *node) purge(t testing.TB) {
	t.Helper()
	n.log.store(mustChannel(t, "t:a"), fanout.KindPurge, "purge")
}

// stall subscribes a client that comes behind r in the shard's turn, and stops the shard
// in it until the returned function is called. An even number of clients must lie
// between the two, as the two shards take turns.
func (n *node) stall(t testing.TB) (release func()) {
	t.Helper()
	sink := &stalledSink{entered: make(chan struct{}), release: make(chan struct{})}
	c := n.NewClient(sink)
	if err := c.Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, "stall:a")}); err != nil {
		t.Fatal(err)
	}
	<-sink.entered
	return func() { close(sink.release) }
}

// stalledSink stops the shard that tells it of its subscription.
type stalledSink struct{ entered, release chan struct{} }

// Deliver implements fanout.Sink.
func (*stalledSink) Deliver(*fanout.Message) bool { return true }

// Notify implements fanout.Sink.
func (s *stalledSink) Notify(fanout.Notice) bool {
	close(s.entered)
	<-s.release
	return true
}

// TestLostBeforeFallingBehind: the feed lost a message before the place where a
// pattern's client fell behind. What follows it in its channel, which the log has, must
// not come before it.
func TestLostBeforeFallingBehind(t *testing.T) {
	t.Parallel()
	n := lossy(t, calm(0, 1), nil)
	slow, quick := n.reader(t, 3), n.reader(t, 100)
	slow.add("t:*", fanout.Start{})
	quick.add("t:*", fanout.Start{})
	quick.await("subscribed t:*")
	if !eventually(10*time.Second, func() bool { return slow.sink.holds(1) }) {
		t.Fatal("not subscribed")
	}
	n.publish(t, "t:b", 1, 1)
	n.losing(t, func() { n.publish(t, "t:a", 2, 2) })
	n.publish(t, "t:b", 3, 4) // there is no room for m4
	quick.await("m4")
	n.losing(t, func() { n.publish(t, "t:a", 5, 5) })
	slow.await("m5")
	n.publish(t, "t:a", 6, 6)
	slow.await("m6")
	if got := ofChannel(slow.told, "m2", "m5", "m6"); !slices.Equal(got, []string{"m2", "m5", "m6"}) {
		t.Errorf("silent hole: of t:a comes %q in %q", got, slow.told)
	}
	quick.await("m6")
}

// TestPurgeLostBeforeFallingBehind is the same with a purge.
func TestPurgeLostBeforeFallingBehind(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]fanout.Conflation{"all": {}, "conflated": byKey(0)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lossy(t, board(1000), func(cfg *fanout.HubConfig) { cfg.ViewMessages = 1 })
			n.publish(t, "t:b", 0, 0) // stays, so that the front of the log does
			slow, quick := n.conflated(t, "t:*", 4, by), n.reader(t, 100)
			quick.add("t:*", fanout.Start{})
			quick.await("subscribed t:*")
			if !eventually(10*time.Second, func() bool { return slow.sink.holds(1) }) {
				t.Fatal("not subscribed")
			}
			n.put(t, "w=1")
			n.publish(t, "t:b", 1, 1)
			n.losing(t, func() { n.put(t, "x=1"); n.purge(t) })
			n.publish(t, "t:b", 2, 4) // there is no room for the last
			quick.await("m4")
			n.losing(t, func() { n.put(t, "y=1") })
			if by.By == fanout.ConflateNone { // else it reads the view, which has not got that
				slow.await("y=1")
			}
			n.put(t, "z=1")
			slow.await("z=1")
			gap, y := slices.Index(slow.told, "gap t:a purged"), slices.Index(slow.told, "y=1")
			if gap < 0 || gap > y {
				t.Errorf("silent hole: told of the purge at %d, of what followed at %d: %q", gap, y, slow.told)
			}
			quick.await("z=1")
		})
	}
}

// TestLateBehindView: a view has what followed a late purge before the shard, which is
// busy, has come to the purge itself. A client with room meanwhile is not to be given it.
func TestLateBehindView(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := lossy(t, board(1000).clocked(), nil)
		n.publish(t, "t:b", 0, 0) // stays, so that the front of the log does
		slow, quick := n.conflated(t, "t:*", 5, byKey(0)), n.reader(t, 100)
		quick.add("t:*", fanout.Start{})
		quick.await("subscribed t:*")
		slow.await("caught up t:*") // which makes room for five
		n.put(t, "w=1")
		n.losing(t, func() { n.put(t, "x=1"); n.purge(t) })
		n.publish(t, "t:b", 1, 5) // there is no room for the last
		quick.await("m5")
		release := n.stall(t)
		slow.take() // makes room
		n.put(t, "y=1")
		quick.await("y=1")
		release()
		slow.await("y=1")
		if want := []string{"m4", "gap t:a purged", "m5", "y=1"}; !slices.Equal(slow.told[len(slow.told)-4:], want) {
			t.Errorf("silent hole: told %q, which does not end in %q", slow.told, want)
		}
	})
}

// TestPurgedBeforeTheFirst: what a subscription asked for and was not given yet is purged.
func TestPurgedBeforeTheFirst(t *testing.T) {
	t.Parallel()
	for _, channel := range []string{"t:a", "t:*"} {
		for _, exact := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, exact %v", channel, exact), func(t *testing.T) {
				t.Parallel()
				n := newNode(t, calm(1000, 1), exact, nil)
				n.publish(t, "t:b", 0, 0) // stays, so that the front of the log does
				n.publish(t, "t:a", 1, 1)
				since := n.position(t, "t:a", 1).Time
				n.purge(t)
				n.publish(t, "t:a", 2, 2)
				n.dispatched(t)
				r, quick := n.reader(t, 1), n.reader(t, 100)
				quick.add(channel, fanout.Start{})
				quick.await("subscribed " + channel)
				r.add(channel, fanout.Start{Since: since})
				if !eventually(10*time.Second, func() bool { return r.sink.full() }) {
					t.Fatal("m2 is not refused")
				}
				n.purge(t)
				n.publish(t, "t:a", 3, 3)
				quick.await("m3")
				r.await("caught up " + channel)
				if got := ofChannel(r.told, "gap t:a purged", "m3"); !slices.Equal(got, []string{"gap t:a purged", "m3"}) {
					t.Errorf("silent hole: told %q", r.told)
				}
			})
		}
	}
}

// TestLateOverflow: more messages are late than are held for a client without room.
func TestLateOverflow(t *testing.T) {
	t.Parallel()
	n := lossy(t, calm(0, 1), nil)
	slow, quick := n.reader(t, 4), n.reader(t, 1000)
	slow.add("t:*", fanout.Start{})
	quick.add("t:*", fanout.Start{})
	quick.await("subscribed t:*")
	if !eventually(10*time.Second, func() bool { return slow.sink.holds(1) }) {
		t.Fatal("not subscribed")
	}
	n.publish(t, "t:b", 1, 1)
	n.losing(t, func() { n.publish(t, "t:a", 2, 601) })
	n.publish(t, "t:b", 602, 604) // there is no room for the last
	quick.await("m604")
	n.publish(t, "t:a", 605, 605)
	quick.await("m605")
	slow.await("m605")
	have := make(map[string]bool)
	for _, m := range slow.told {
		have[m] = true
	}
	for _, m := range msgs(1, 605) {
		if !have[m] {
			t.Fatalf("silent hole: %s is missing among %d", m, len(have))
		}
	}
}

// TestEvictedBeforeFallingBehind: what the feed lost is gone when it is looked for. Every
// client that was given what followed must be told, wherever it stands by then.
func TestEvictedBeforeFallingBehind(t *testing.T) {
	t.Parallel()
	for _, room := range []int{3, 4, 100} {
		t.Run(fmt.Sprintf("room %d", room), func(t *testing.T) {
			t.Parallel()
			n := lossy(t, calm(2, 1), nil)
			slow, quick := n.reader(t, room), n.reader(t, 100)
			slow.add("t:*", fanout.Start{})
			quick.add("t:*", fanout.Start{})
			quick.await("subscribed t:*")
			if !eventually(10*time.Second, func() bool { return slow.sink.holds(1) }) {
				t.Fatal("not subscribed")
			}
			n.publish(t, "t:b", 1, 1)
			n.losing(t, func() { n.publish(t, "t:a", 2, 7) })
			n.publish(t, "t:b", 8, 10)
			quick.await("m10")
			n.publish(t, "t:a", 11, 11)
			quick.await("m11")
			slow.await("m11")
			if !slices.Contains(slow.told, "gap t:* retention") {
				t.Errorf("silent hole: told %q", slow.told)
			}
		})
	}
}

func (s *boundedSink) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

func (s *boundedSink) holds(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events) >= n
}

// ofChannel are those that were told among some.
func ofChannel(told []string, some ...string) (out []string) {
	for _, s := range told {
		if slices.Contains(some, s) {
			out = append(out, s)
		}
	}
	return out
}

// TestFillOfAnotherLog: the log is made anew, and the node does not know yet when it reads
// what a conflated subscription begins with. That must not be mixed with what the feed had
// brought of the log before, which would outdate it.
func TestFillOfAnotherLog(t *testing.T) {
	t.Parallel()
	for _, channel := range []string{"t:a", "t:*"} {
		for _, exact := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, exact %v", channel, exact), func(t *testing.T) {
				t.Parallel()
				n := newNode(t, board(1000), exact, func(cfg *fanout.HubConfig) { cfg.SweepInterval, cfg.FirstLook = time.Hour, time.Hour })
				n.put(t, "w=1", "w=2", "w=3")
				first := n.reader(t, 100)
				first.addRequest(fanout.SubscribeRequest{
					Channel: mustChannel(t, channel), Conflate: byKey(0),
					Start: fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", 3)}},
				})
				first.await("caught up " + channel) // it has made the view
				n.put(t, "x=1", "y=1")
				first.await("y=1")
				n.losing(t, func() { // of the change, too, it is not told
					n.log.recreate(n.log.partition(mustChannel(t, "t:a")))
					n.put(t, "x=2", "v=2")
				})
				r := n.conflated(t, channel, 2, byKey(0))
				if !eventually(10*time.Second, func() bool { r.take(); return len(r.told) > 0 }) {
					t.Fatal("told nothing")
				}
				n.put(t, "z=2") // shows the change
				if !eventually(10*time.Second, func() bool { r.take(); return slices.Contains(r.told, "z=2") }) {
					t.Fatalf("z=2 is not told after %q", r.told)
				}
				if got := ofChannel(r.told, "x=2", "v=2", "z=2"); !slices.Equal(got, []string{"x=2", "v=2", "z=2"}) {
					t.Errorf("silent hole: told %q", r.told)
				}
			})
		}
	}
}
