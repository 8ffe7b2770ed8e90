package fanout_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestLanesAreBounded: what is in lanes counts into ShardQueue, so that a crowd which
// takes long gathers no more than that, whatever is published meanwhile.
func TestLanesAreBounded(t *testing.T) {
	t.Parallel()
	const crowd, bound = 20, 8
	n := newNode(t, calm(0, 1), true, func(c *fanout.HubConfig) { c.Shards, c.SliceCursors, c.ShardQueue = 1, 1, bound })
	began, gate, done := make(chan int), make(chan struct{}), make(chan struct{})
	var sinks []*steppedSink
	for i := range crowd {
		s := &steppedSink{name: i, began: began, gate: gate, done: done, ready: make(chan struct{})}
		if err := n.NewClient(s).Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a")}); err != nil {
			t.Fatal(err)
		}
		<-s.ready
		sinks = append(sinks, s)
	}
	last := 1
	n.publish(t, "t:a", 1, 1)
	at := <-began
	overflowed := func() bool { return n.metric(t, "shard_overflow_total") > 0 }
	for range crowd / 2 {
		n.publish(t, "t:a", last+1, last+bound)
		last += bound
		n.dispatched(t)
		if overflowed() {
			break
		}
		for before := at; at == before; at = <-began { // between two cursors the shard takes what is queued
			gate <- struct{}{}
		}
	}
	if !overflowed() {
		t.Errorf("a shard has taken %d messages that nobody was given, and holds more than %d", last, bound)
	}
	close(done)
	for _, s := range sinks {
		if !eventually(10*time.Second, func() bool { return int(s.got.Load()) == last }) {
			t.Errorf("%d never got all: %d of %d", s.name, s.got.Load(), last)
		}
	}
}

// steppedSink says that it was given a message, and waits until it may take it.
type steppedSink struct {
	name  int
	began chan int
	gate  chan struct{}
	done  chan struct{} // closed when it need not wait any more
	ready chan struct{}
	got   atomic.Int64
}

func (s *steppedSink) Deliver(*fanout.Message) bool {
	select {
	case s.began <- s.name:
		select {
		case <-s.gate:
		case <-s.done:
		}
	case <-s.done:
	}
	s.got.Add(1)
	return true
}

func (s *steppedSink) Notify(n fanout.Notice) bool {
	if n.Kind == fanout.NoticeSubscribed {
		close(s.ready)
	}
	return true
}

// TestGapWaitsForTheLane: a gap that comes while messages before it are handed over in
// slices is told after them.
func TestGapWaitsForTheLane(t *testing.T) {
	t.Parallel()
	l := calm(0, 1)
	n := newNode(t, l, true, func(c *fanout.HubConfig) { c.Shards, c.SliceCursors = 2, 1 })
	taken, gate := make(chan string, 10), make(chan struct{})
	subscribeAs(t, n, "t:a", "blocks its shard", taken, gate)
	var readers []*reader
	for range 6 {
		readers = append(readers, n.subscribe(t, "t:a", fanout.Start{}))
	}
	other := readers[0] // of the other shard
	n.publish(t, "t:a", 1, 3)
	other.await("m3")
	l.recreate(l.partition(mustChannel(t, "t:a")))
	other.await("gap t:a log_changed")
	n.publish(t, "t:a", 4, 4)
	other.await("m4") // and all of it is in the queue of the first
	close(gate)
	for _, r := range readers {
		r.expect("subscribed t:a", "m1", "m2", "m3", "gap t:a log_changed", "m4")
	}
}

// TestCrowdsTakeTurns: of two crowds neither waits for the other's end.
func TestCrowdsTakeTurns(t *testing.T) {
	t.Parallel()
	const crowd, slice = 50, 5
	n := newNode(t, calm(0, 1), true, func(c *fanout.HubConfig) { c.Shards, c.SliceCursors = 1, slice })
	order, gate := make(chan string, 2*crowd), make(chan struct{})
	for i := range 2 * crowd {
		name := fmt.Sprint("t:", i%2)
		subscribeAs(t, n, name, name, order, gate)
	}
	n.publish(t, "t:0", 1, 1)
	n.publish(t, "t:1", 2, 2)
	n.dispatched(t)
	close(gate) // the shard has begun with one crowd at most
	var told []string
	first := map[string]int{}
	for i := range 2 * crowd {
		who := <-order
		told = append(told, who)
		if _, had := first[who]; !had {
			first[who] = i
		}
	}
	for who, i := range first {
		if i > 2*slice {
			t.Errorf("the first message of %s was handed over as number %d: %v", who, i+1, told)
		}
	}
}
