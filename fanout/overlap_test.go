package fanout_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
