package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestStopWithClients ends the hub under its clients, in whatever state they are.
func TestStopWithClients(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 2), true, nil)
	n.publish(t, "t:a", 1, 50)
	n.gate.setHold(func(ctx context.Context, q fanout.Query) {
		if q.Source.Filter == mustChannel(t, "t:a") && q.After == 0 {
			<-ctx.Done()
		}
	})
	n.subscribe(t, "t:b", fanout.Start{})
	var readers []*reader
	for range 20 {
		r := n.reader(t, 2)
		r.add("t:a", fanout.Start{Since: 1}) // reading
		r.add("t:>", fanout.Start{})
		readers = append(readers, r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, r := range readers {
		r.client.Close()
		r.take()
		r.told = nil
		r.expect()
	}
	// A stopped hub refuses nothing loudly and starts nothing.
	r := n.reader(t, 10)
	_ = r.client.Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, "t:a")})
	r.client.Close()
	n.publish(t, "t:a", 51, 52)
	r.expect()
}

func TestCloseWhileSubscribing(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 2), true, func(cfg *fanout.HubConfig) { cfg.Linger, cfg.SweepInterval = 0, 5*time.Millisecond })
	n.publish(t, "t:a", 1, 20)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			r := n.reader(t, 5)
			for _, c := range []string{"t:a", "t:*", "t:b"} {
				r.add(c, fanout.Start{Since: int64(i % 2)})
			}
			for range i % 7 {
				runtime.Gosched()
			}
			r.client.Close()
			r.take()
			r.told = nil
			r.expect() // nothing comes after Close
			if err := r.client.Subscribe(fanout.SubscribeRequest{Channel: mustChannel(t, "t:c")}); !errors.Is(err, fanout.ErrClosed) {
				t.Errorf("subscribing after Close: %v", err)
			}
			r.client.Close()
		})
	}
	wg.Wait()
	if !eventually(10*time.Second, func() bool { return n.metric(t, "subscriptions") == 0 && n.metric(t, "sources") == 0 }) {
		t.Errorf("%v subscriptions and %v sources are left\n%s", n.metric(t, "subscriptions"), n.metric(t, "sources"), n.Dump())
	}
}

// TestIdleSubscriptionsNeedNoGoroutine has thousands of clients, each with a shared
// channel and one of its own.
func TestIdleSubscriptionsNeedNoGoroutine(t *testing.T) {
	n := newNode(t, calm(0, 4), true, nil)
	n.subscribe(t, "t:a", fanout.Start{})
	before := runtime.NumGoroutine()
	readers := make([]*reader, 3000)
	for i := range readers {
		readers[i] = n.reader(t, 10)
		readers[i].add("t:a", fanout.Start{})
		readers[i].add(fmt.Sprintf("t:own.%d", i), fanout.Start{})
	}
	for _, r := range readers {
		if !eventually(20*time.Second, func() bool { r.take(); return len(r.told) == 2 }) {
			t.Fatalf("told %q", r.told)
		}
		r.told = nil
	}
	if !eventually(5*time.Second, func() bool { return runtime.NumGoroutine() <= before+2 }) {
		t.Errorf("%d goroutines more for %d subscriptions", runtime.NumGoroutine()-before, 2*len(readers))
	}
	n.publish(t, "t:a", 1, 1)
	for _, r := range readers {
		r.expect("m1")
	}
	n.publish(t, "t:own.1234", 2, 2)
	for i, r := range readers {
		if i == 1234 {
			r.expect("m2")
		} else {
			r.expect()
		}
	}
}
