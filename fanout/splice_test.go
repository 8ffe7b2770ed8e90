package fanout_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestLateMessageDuringRead: a pattern's cursor is reading the log, with an answer
// from before a message that the feed loses. The message is found and handed over
// late, and what follows it live: the cursor must not join on to that without it.
func TestLateMessageDuringRead(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), false, nil)
	first := n.subscribe(t, "t:*", fanout.Start{})
	n.publish(t, "t:b", 1, 1)
	first.await("m1")

	release, reading := make(chan struct{}), make(chan struct{})
	var once sync.Once
	n.gate.setHold(func(context.Context, fanout.Query) {
		held := false
		once.Do(func() { held = true })
		if held {
			close(reading)
			<-release
		}
	})
	second := n.reader(t, 100)
	second.add("t:*", fanout.Start{})
	<-reading
	n.losing(t, func() { n.publish(t, "t:a", 2, 2) })
	n.publish(t, "t:b", 3, 3)
	first.await("m3")
	n.publish(t, "t:a", 4, 4) // shows that m2 is missing
	first.expect("subscribed t:*", "m1", "m3", "m2", "m4")
	close(release)
	second.await("m4")
	if want := []string{"subscribed t:*", "m2", "m3", "m4"}; len(second.told) != len(want) || !sameSet(second.told, want) {
		t.Errorf("told %q, want %q in the order of each channel", second.told, want)
	}
}

// TestPublishedWhileOpening: a message that is stored just after the tail was read
// comes with the feed, for interest was declared before.
func TestPublishedWhileOpening(t *testing.T) {
	t.Parallel()
	for _, filter := range []string{"t:a", "t:>"} {
		t.Run(filter, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, calm(0, 1).clocked(), true, func(cfg *fanout.HubConfig) { cfg.SweepInterval = time.Hour })
				n.publish(t, "t:a", 1, 1)
				var once sync.Once
				n.gate.setTail(func() { once.Do(func() { n.publish(t, "t:a", 2, 2) }) })
				r := n.subscribe(t, filter, fanout.Start{})
				synctest.Wait()
				r.take()
				if r.last.m == nil && r.last.n.Positions[0].Offset != 2 {
					t.Errorf("told %q, and begins at %v; m2 is lost", r.told, r.last.n.Positions)
				}
			})
		})
	}
}

func sameSet(a, b []string) bool {
	count := make(map[string]int)
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		count[s]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// TestBeginsBesideAFullSink: a client that has no room is told all the same where its others begin:
// it may wait for that before it reads on.
func TestBeginsBesideAFullSink(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		channel string
		start   func(at fanout.Position) fanout.Start
	}{
		"at a position":         {"t:b", func(at fanout.Position) fanout.Start { return fanout.Start{Positions: []fanout.Position{at}} }},
		"a pattern's position":  {"t:b.*", func(at fanout.Position) fanout.Start { return fanout.Start{Positions: []fanout.Position{at}} }},
		"at a time":             {"t:b", func(fanout.Position) fanout.Start { return fanout.Start{Since: 1} }},
		"with the last":         {"t:b", func(fanout.Position) fanout.Start { return fanout.Start{Last: 2} }},
		"from now on":           {"t:b", func(fanout.Position) fanout.Start { return fanout.Start{} }},
		"a pattern from now on": {"t:b.*", func(fanout.Position) fanout.Start { return fanout.Start{} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, calm(0, 1), true, nil)
			n.publish(t, "t:a", 1, 10)
			n.publish(t, "t:b", 11, 12)
			n.publish(t, "t:b.c", 13, 14)
			r := n.reader(t, 3)
			r.add("t:a", fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", 1)}})
			if !eventually(10*time.Second, r.sink.full) {
				t.Fatal("the sink is never full")
			}
			r.add(c.channel, c.start(n.position(t, "t:b", 1)))
			if !eventually(10*time.Second, func() bool { return r.sink.has("subscribed " + c.channel) }) {
				t.Fatalf("%s does not begin while the client has no room", c.channel)
			}
			n.publish(t, "t:a", 15, 15)
			n.publish(t, "t:b", 16, 16)
			n.publish(t, "t:b.c", 17, 17)
			if !eventually(10*time.Second, func() bool {
				r.take()
				return slices.Contains(r.told, "m15") && (slices.Contains(r.told, "m16") || slices.Contains(r.told, "m17"))
			}) {
				t.Errorf("told %q", r.told)
			}
		})
	}
}
