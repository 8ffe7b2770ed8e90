package broker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
)

// TestAFloodWaitsBehindItself: while one namespace has hundreds of publishes waiting, a
// publish in another gets the next place, and two floods get as many.
func TestAFloodWaitsBehindItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := broker.NewWindow(8)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		done := map[string]int{}
		var wg sync.WaitGroup
		publish := func(namespace string, n int) {
			for range n {
				wg.Go(func() {
					if w.Acquire(ctx, namespace) != nil {
						return
					}
					time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the bubble's clock
					w.Release(namespace)
					mu.Lock()
					done[namespace]++
					mu.Unlock()
				})
			}
		}
		publish("a", 2000)
		publish("b", 2000)
		synctest.Wait()
		for range 100 {
			time.Sleep(time.Millisecond) //nolint:forbidigo // the bubble's clock
			begin := time.Now()
			if err := w.Acquire(ctx, "quiet"); err != nil {
				t.Fatal(err)
			}
			if wait := time.Since(begin); wait > 10*time.Millisecond {
				t.Errorf("a quiet namespace waited %v for a place, want at most one publish's 10ms", wait)
			}
			w.Release("quiet")
		}
		mu.Lock()
		a, b := done["a"], done["b"]
		mu.Unlock()
		if a < 100 || a > b+16 || b > a+16 {
			t.Errorf("of two floods one had %d and the other %d", a, b)
		}
		cancel()
		wg.Wait()
		if err := w.Drained(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestOneNamespaceHasHalfTheWindow(t *testing.T) {
	w := broker.NewWindow(8)
	for range 4 {
		if !w.TryAcquire("a") {
			t.Fatal("less than half")
		}
	}
	if w.TryAcquire("a") {
		t.Error("more than half")
	}
	if !w.TryAcquire("b") {
		t.Error("nothing is left for another")
	}
}

// TestWindowKeepsCount: whoever gives up, and when, places are neither lost nor made.
func TestWindowKeepsCount(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			w := broker.NewWindow(1 + random.IntN(6))
			var wg sync.WaitGroup
			for range 200 {
				namespace := string(rune('a' + random.IntN(3)))
				begin, patience, work := random.IntN(50), random.IntN(20), random.IntN(5)
				wg.Go(func() {
					time.Sleep(time.Duration(begin) * time.Millisecond) //nolint:forbidigo // the bubble's clock
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(patience)*time.Millisecond)
					defer cancel()
					if err := w.Acquire(ctx, namespace); err != nil {
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Error(err)
						}
						return
					}
					time.Sleep(time.Duration(work) * time.Millisecond) //nolint:forbidigo // the bubble's clock
					w.Release(namespace)
				})
			}
			wg.Wait()
			if err := w.Drained(t.Context()); err != nil {
				t.Error(err)
			}
			if !w.TryAcquire("a") {
				t.Error("a place was lost")
			}
		})
	}
}

func TestWindowAllocatesNothing(t *testing.T) {
	w := broker.NewWindow(8)
	if n := testing.AllocsPerRun(1000, func() {
		w.TryAcquire("a")
		w.Release("a")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Who gives up takes no turns with it.
func TestWindowForgetsWhoGaveUp(t *testing.T) {
	w := broker.NewWindow(2)
	for _, ns := range []string{"x", "y"} {
		if !w.TryAcquire(ns) {
			t.Fatal("the window is full")
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if err := w.Acquire(over, "a"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if n := w.Turns(); n != 0 {
		t.Errorf("%d turns of nobody", n)
	}
}
