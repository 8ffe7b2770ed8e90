package fanout_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestPatternsInTheOrderOfTheirSubscribed: a pattern that waits for the log has no part in
// what one delivers that was asked for later and began first. A client that resumes the
// latter after what the former brought would never get what lies before.
func TestPatternsInTheOrderOfTheirSubscribed(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, func(c *fanout.HubConfig) { c.ReadBatch = 4 })
	n.subscribe(t, "t:>", fanout.Start{}) // its ring has all
	n.publish(t, "t:a", 1, 3)
	n.publish(t, "t:b.c", 4, 103) // of t:> alone
	n.publish(t, "t:a", 104, 106)
	n.dispatched(t)
	n.subscribe(t, "t:*", fanout.Start{}) // its ring has nothing of that
	release, asked := make(chan struct{}), make(chan struct{}, 1)
	n.gate.setHold(func(ctx context.Context, q fanout.Query) {
		if q.Source.Filter != mustChannel(t, "t:*") {
			return
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
	})
	r := n.reader(t, 8)
	start := fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", 3)}}
	r.add("t:*", start)
	<-asked
	r.add("t:>", start)
	r.holds("subscribed t:>") // and is full
	close(release)
	r.holds("subscribed t:*")
	if !eventually(10*time.Second, func() bool {
		r.take()
		return slices.Contains(r.told, "caught up t:>") && slices.Contains(r.told, "caught up t:*")
	}) {
		t.Fatalf("told %q", r.told)
	}
	r.told = slices.DeleteFunc(r.told, func(s string) bool { return !strings.HasPrefix(s, "m") })
	if want := msgs(4, 106); fmt.Sprint(r.told) != fmt.Sprint(want) {
		t.Errorf("told %q\nwant %q: all are of the pattern that began first", r.told, want)
	}
}

// holds waits until something is in the sink, which stays as it is.
func (r *reader) holds(what string) {
	r.t.Helper()
	if !eventually(10*time.Second, func() bool {
		r.sink.mu.Lock()
		defer r.sink.mu.Unlock()
		return r.sink.count >= r.sink.room && slices.ContainsFunc(r.sink.events, func(e event) bool {
			return e.m == nil && words(e.n) == what
		})
	}) {
		r.t.Fatalf("%q is not told", what)
	}
}

// holdsReads has reads of a filter after an offset wait for release, and no others any more.
func (n *node) holdsReads(t testing.TB, filter string, after uint64) (release func()) {
	t.Helper()
	on, only := make(chan struct{}), mustChannel(t, filter)
	n.gate.setHold(func(ctx context.Context, q fanout.Query) {
		if q.Source.Filter != only || q.After < after {
			return
		}
		select {
		case <-on:
		case <-ctx.Done():
		}
	})
	return func() { close(on) }
}

// TestTakenOverIsNotHad: what a pattern is yet to take over from a subscription that ended
// comes to the next one to the same channel.
func TestTakenOverIsNotHad(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, func(c *fanout.HubConfig) {
		c.ReadBatch, c.RingMessages, c.KeepReads, c.ReadsPerStream = 4, 0, 0, 4
	})
	n.publish(t, "t:a", 1, 20)
	release := n.holdsReads(t, "t:a", 4)
	r := n.reader(t, 1<<20)
	r.add("t:a", fanout.Start{Since: 1})
	r.expect("subscribed t:a", "m1", "m2", "m3", "m4")
	r.add("t:>", fanout.Start{Since: 1}) // leaves all to the former
	r.expect("subscribed t:>", "caught up t:>")
	releasePattern := n.holdsReads(t, "t:>", 4)
	if err := r.client.Unsubscribe(7, mustChannel(t, "t:a")); err != nil {
		t.Fatal(err)
	}
	r.expect("unsubscribed t:a")
	release()
	r.add("t:a", fanout.Start{Since: 1})
	r.expect(join([]string{"subscribed t:a"}, msgs(5, 20), []string{"caught up t:a"})...)
	releasePattern()
	n.publish(t, "t:b", 21, 21)
	r.expect("m21")
}

// TestLeftToAnOlderPattern: of two patterns the newer has got on, and has left to the older,
// which is behind, what is the older's. A channel's subscription takes it over: it is not
// had, though the newer is past it.
func TestLeftToAnOlderPattern(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, func(c *fanout.HubConfig) {
		c.ReadBatch, c.RingMessages, c.KeepReads, c.ReadsPerStream = 1, 0, 0, 4
	})
	n.publish(t, "t:a", 1, 4)
	release := make(chan struct{})
	n.gate.setHold(func(ctx context.Context, q fanout.Query) {
		if q.Source.Filter != mustChannel(t, "t:>") || q.After < 1 {
			return
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
	})
	r := n.reader(t, 1<<20)
	r.add("t:>", fanout.Start{Since: 1})
	r.expect("subscribed t:>", "m1")
	r.add("t:*", fanout.Start{Since: 1})
	r.expect("subscribed t:*", "caught up t:*")
	r.add("t:a", fanout.Start{Since: 1})
	r.expect("subscribed t:a", "m2", "m3", "m4", "caught up t:a")
	close(release)
	r.expect("caught up t:>")
}

// TestUnannouncedHasNoPart: a channel's subscription that the client was not told of has no
// part in what its pattern delivers. If the connection ends before, the client asks for the
// channel from then on, and for what follows the pattern's last message.
func TestUnannouncedHasNoPart(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	r := n.reader(t, 1<<20)
	deaf := &deafSink{boundedSink: r.sink}
	deaf.shut.Store(true)
	r.client = n.NewClient(deaf)
	r.add("t:>", fanout.Start{})
	r.expect("subscribed t:>")
	r.add("t:a", fanout.Start{})
	if !eventually(10*time.Second, deaf.refused.Load) {
		t.Fatal("t:a does not begin")
	}
	n.publish(t, "t:a", 1, 1)
	n.publish(t, "t:b", 2, 2)
	n.dispatched(t)
	r.client.Drained() // but for t:a there is still no room
	r.await("m2")
	deaf.shut.Store(false)
	r.client.Drained()
	r.await("subscribed t:a")
	n.publish(t, "t:a", 3, 3)
	r.expect("m1", "m2", "subscribed t:a", "m3")
}

// deafSink has no room for the subscribed of t:a while it is shut.
type deafSink struct {
	*boundedSink
	shut, refused atomic.Bool
}

// Notify implements fanout.Sink.
func (s *deafSink) Notify(n fanout.Notice) bool {
	if n.Channel.String() == "t:a" && s.shut.Load() {
		s.refused.Store(true)
		return false
	}
	return s.boundedSink.Notify(n)
}
