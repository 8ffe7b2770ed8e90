package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// even lets the messages through whose number, m<number>, is even, and counts how often
// it was asked.
func even(id uint64, asked *atomic.Int64) *fanout.Filter {
	return fanout.NewFilter(id, func(m *fanout.Message) bool {
		if asked != nil {
			asked.Add(1)
		}
		return strings.ContainsAny(string(m.Data[len(m.Data)-1:]), "02468")
	})
}

func (r *reader) addRequest(req fanout.SubscribeRequest) {
	r.t.Helper()
	req.Token = 7
	if err := r.client.Subscribe(req); err != nil {
		r.t.Fatal(err)
	}
}

// evens are the even ones of the messages m<from> to m<to>.
func evens(from, to int) (out []string) {
	for i := from + from%2; i <= to; i += 2 {
		out = append(out, fmt.Sprintf("m%d", i))
	}
	return out
}

func TestFilterLeavesOut(t *testing.T) {
	t.Parallel()
	for _, ring := range []int{1024, 0} {
		t.Run(fmt.Sprintf("ring of %d", ring), func(t *testing.T) {
			t.Parallel()
			n := newNode(t, calm(1000, 1), true, func(c *fanout.HubConfig) { c.RingMessages = ring })
			n.publish(t, "t:a", 1, 20)
			var asked atomic.Int64
			f := even(1, &asked)
			var readers []*reader
			for range 4 {
				r := n.reader(t, 1<<20)
				r.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Start: fanout.Start{Since: 1}, Filter: f})
				readers = append(readers, r)
			}
			for _, r := range readers {
				r.await("caught up t:a")
			}
			n.publish(t, "t:a", 21, 30)
			for _, r := range readers {
				r.expect(join([]string{"subscribed t:a"}, evens(1, 20), []string{"caught up t:a"}, evens(21, 30))...)
			}
			if most := int64(30 + 20*3); asked.Load() > most { // each replay may have its own copies
				t.Errorf("asked %d times about 30 messages", asked.Load())
			}
			// It comes back from a position between.
			r := n.reader(t, 1<<20)
			r.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Start: fanout.Start{Positions: []fanout.Position{readers[0].at}}, Filter: f})
			n.publish(t, "t:a", 31, 32)
			if !eventually(10*time.Second, func() bool { r.take(); return slices.Contains(r.told, "m32") }) {
				t.Errorf("told %q", r.told)
			}
			for _, r := range append(readers, r) {
				r.client.Close()
			}
			if u := f.Users(); u != 0 {
				t.Errorf("%d users are left", u)
			}
		})
	}
}

// TestLiveFilterIsAskedOnce: of many subscribers, with other subscribers between.
func TestLiveFilterIsAskedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, calm(1000, 1).clocked(), true, nil)
		var asked atomic.Int64
		f := even(1, &asked)
		var readers []*reader
		for range 20 {
			r := n.reader(t, 1<<20)
			r.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Filter: f})
			r.await("subscribed t:a")
			readers = append(readers, r)
		}
		plain := n.subscribe(t, "t:a", fanout.Start{})
		n.publish(t, "t:a", 1, 100)
		plain.await("m100")
		for _, r := range readers {
			r.expect(join([]string{"subscribed t:a"}, evens(1, 100))...)
		}
		if got := asked.Load(); got < 100 || got > 200 { // two shards may ask at the same moment
			t.Errorf("asked %d times about 100 messages", got)
		}
	})
}

// TestFilterTellsPositions: where nothing passes, the client still gets on, or it would
// come back to a place that the log has forgotten.
func TestFilterTellsPositions(t *testing.T) {
	t.Parallel()
	l := calm(1000, 1)
	n := newNode(t, l, true, nil)
	r := n.reader(t, 1<<20)
	r.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Filter: fanout.NewFilter(1, func(*fanout.Message) bool { return false })})
	r.await("subscribed t:a")
	for i := range 5 {
		l.pass(2 * time.Second)
		n.publish(t, "t:a", i, i)
	}
	r.await("position t:a")
	r.expect("subscribed t:a", "position t:a") // 6 seconds after the first
	at := r.at
	r.client.Close()
	back := n.reader(t, 1<<20)
	back.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Start: fanout.Start{Positions: []fanout.Position{at}}})
	back.expect("subscribed t:a", "m4", "caught up t:a")
}

// A place that a filter's subscriber is told goes on from the last that it had: who has
// dealt with that has dealt with everything before.
func TestFilterTellsFromWhere(t *testing.T) {
	t.Parallel()
	l := calm(1000, 1)
	n := newNode(t, l, true, nil)
	r := n.reader(t, 1<<20)
	r.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Filter: fanout.NewFilter(1, func(m *fanout.Message) bool { return string(m.Data) == "m1" })})
	r.await("subscribed t:a")
	n.publish(t, "t:a", 1, 1)
	r.await("m1")
	known := r.at
	for i := range 2 { // a notice each
		l.pass(6 * time.Second)
		n.publish(t, "t:a", 10*i+2, 10*i+2)
		told := len(r.told)
		if !eventually(10*time.Second, func() bool { r.take(); return len(r.told) > told }) || r.last.n.Kind != fanout.NoticePosition {
			t.Fatalf("told %q", r.told)
		}
		if r.last.n.Prior != known {
			t.Errorf("the place %v comes after %v, want after %v", r.last.n.Positions, r.last.n.Prior, known)
		}
		known = r.at
	}
}

func TestFiltersOfOneClientAreBounded(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(1000, 1), true, nil)
	r := n.reader(t, 1<<20)
	subscribe := func(channel string, f *fanout.Filter) error {
		return r.client.Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, channel), Filter: f})
	}
	for i := range fanout.MaxFilters {
		if err := subscribe(fmt.Sprintf("t:%d", i), even(uint64(i), nil)); err != nil {
			t.Fatal(err)
		}
	}
	one := even(99, nil)
	err := subscribe("t:more", one)
	if in, ok := errors.AsType[*fanout.InputError](err); !ok || in.Field != "filter" || one.Users() != 0 {
		t.Errorf("one more: %v, %d users", err, one.Users())
	}
	if err := subscribe("t:more", even(3, nil)); err != nil {
		t.Errorf("one that is there already: %v", err)
	}
	if err := r.client.Unsubscribe(1, mustChannel(t, "t:5")); err != nil {
		t.Fatal(err)
	}
	if err := subscribe("t:further", one); err != nil {
		t.Errorf("after one was given up: %v", err)
	}
	if !eventually(10*time.Second, func() bool { return one.Users() == 1 }) {
		t.Errorf("%d users", one.Users())
	}
	r.client.Close()
	if !eventually(10*time.Second, func() bool { return one.Users() == 0 }) {
		t.Errorf("%d users after the end", one.Users())
	}
}

// TestFilterIsReleased however a subscription fails to begin.
func TestFilterIsReleased(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(1000, 1), true, nil)
	n.gate.setLocate(func(context.Context) error { return fanout.ErrUnavailable })
	f := even(1, nil)
	r := n.reader(t, 1<<20)
	r.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a"), Filter: f})
	r.await("failed t:a: " + fanout.ErrUnavailable.Error())
	if u := f.Users(); u != 0 {
		t.Errorf("%d users of a subscription that failed", u)
	}
}
