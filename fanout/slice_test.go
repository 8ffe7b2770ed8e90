package fanout_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestSmallChannelsPassLargeOnes: while a message to a crowd is handed over in slices,
// a message to another channel is not kept waiting for the crowd's end.
func TestSmallChannelsPassLargeOnes(t *testing.T) {
	n := newNode(t, calm(0, 1), true, func(c *fanout.HubConfig) { c.Shards, c.SliceCursors = 1, 4 })
	const crowd, messages = 100, 20
	order, gate := make(chan string, crowd*messages+1), make(chan struct{})
	for i := range crowd {
		subscribeAs(t, n, "t:crowd", fmt.Sprintf("crowd%d", i), order, gate)
	}
	subscribeAs(t, n, "t:small", "small", order, gate)
	n.publish(t, "t:crowd", 1, messages)
	n.publish(t, "t:small", messages+1, messages+1)
	n.dispatched(t)
	close(gate) // the shard has begun with the crowd and has all the rest in its queue
	place := 0
	for i := range crowd*messages + 1 {
		if who := <-order; who == "small" {
			place = i + 1
		}
	}
	if place == 0 || place > crowd {
		t.Errorf("the small channel's message was handed over as number %d of %d", place, crowd*messages+1)
	}
}

// subscribeAs subscribes with a sink that tells its name with every message.
func subscribeAs(t *testing.T, n *node, channel, name string, to chan string, gate chan struct{}) {
	t.Helper()
	s := &namedSink{name: name, to: to, gate: gate, ready: make(chan struct{})}
	if err := n.NewClient(s).Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, channel)}); err != nil {
		t.Fatal(err)
	}
	<-s.ready
}

type namedSink struct {
	name  string
	to    chan string
	gate  chan struct{} // deliveries wait for it
	ready chan struct{}
}

func (s *namedSink) Deliver(*fanout.Message) bool {
	<-s.gate
	s.to <- s.name
	return true
}

func (s *namedSink) Notify(n fanout.Notice) bool {
	if n.Kind == fanout.NoticeSubscribed {
		close(s.ready)
	}
	return true
}

// TestLeavingBetweenSlices: when a subscriber leaves that has a message already, nobody
// else misses it, also if nothing follows that would show the hole.
func TestLeavingBetweenSlices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, calm(0, 1).clocked(), true, func(c *fanout.HubConfig) { c.Shards, c.SliceCursors = 1, 1 })
		left := make(chan error, 1)
		leaver := &leavingSink{left: left}
		leaver.client = n.NewClient(leaver)
		if err := leaver.client.Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a")}); err != nil {
			t.Fatal(err)
		}
		var stay []*reader
		for range 5 {
			r := n.subscribe(t, "t:a", fanout.Start{})
			r.told = nil
			stay = append(stay, r)
		}
		n.publish(t, "t:a", 1, 1)
		if err := <-left; err != nil {
			t.Fatal(err)
		}
		for _, r := range stay {
			r.expect("m1")
		}
	})
}

// leavingSink leaves while it is given its first message: what was posted is handled
// when its slice ends.
type leavingSink struct {
	client *fanout.Client
	left   chan error
}

func (s *leavingSink) Deliver(m *fanout.Message) bool {
	gone := make(chan struct{})
	go func() {
		s.left <- s.client.Unsubscribe(1, m.Channel)
		close(gone)
	}()
	<-gone
	return true
}

func (*leavingSink) Notify(fanout.Notice) bool { return true }

// TestSlicesAmongComingAndGoing: subscribers join and leave between the slices of
// messages; who stays gets every message once and in order, who leaves no hole.
func TestSlicesAmongComingAndGoing(t *testing.T) {
	n := newNode(t, calm(0, 1), true, func(c *fanout.HubConfig) { c.Shards, c.SliceCursors = 2, 3 })
	var stay, come []*reader
	for range 20 {
		stay = append(stay, n.subscribe(t, "t:a", fanout.Start{}))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const messages = 400
	for i := 1; i < messages; i++ {
		n.publish(t, "t:a", i, i)
		switch rng.IntN(3) {
		case 0:
			r := n.reader(t, 1000)
			r.add("t:a", fanout.Start{})
			come = append(come, r)
		case 1:
			if len(come) > 0 {
				k := rng.IntN(len(come))
				come[k].client.Close()
				come[k].take()
				come[k].wantRun()
				come = slices.Delete(come, k, k+1)
			}
		}
	}
	for _, r := range come { // who has not begun would miss the last message rightly
		if !eventually(10*time.Second, func() bool { r.take(); return len(r.told) > 0 }) {
			t.Fatal("a subscription was not answered")
		}
	}
	n.publish(t, "t:a", messages, messages)
	for _, r := range stay {
		r.expect(join([]string{"subscribed t:a"}, msgs(1, messages))...)
	}
	for _, r := range come {
		r.await(fmt.Sprintf("m%d", messages))
		r.wantRun()
	}
}

// wantRun requires that the messages told are consecutive.
func (r *reader) wantRun() {
	r.t.Helper()
	next := 0
	for _, told := range r.told {
		var k int
		if _, err := fmt.Sscanf(told, "m%d", &k); err != nil {
			continue
		}
		if next != 0 && k != next {
			r.t.Fatalf("message %d came where %d was to come", k, next)
		}
		next = k + 1
	}
}
