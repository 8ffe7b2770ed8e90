package api

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// TestHeavyRequestsTakeTurns: one caller with many large requests holds another up for
// one of them, and what gives up leaves nothing behind.
func TestHeavyRequestsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heavy{wait: time.Minute, slots: make(chan struct{}, 1), callers: make(map[string]*heavyCaller)}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if h.enter(t.Context(), "flood") == nil {
					time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the bubble's clock
					h.rest()
					h.end("flood")
				}
			})
		}
		synctest.Wait()
		for range 10 {
			begin := time.Now()
			if err := h.enter(t.Context(), "other"); err != nil {
				t.Fatal(err)
			}
			if wait := time.Since(begin); wait > 20*time.Millisecond {
				t.Errorf("waited %v, want one request's 10ms", wait)
			}
			h.rest()
			h.end("other")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := h.enter(ctx, "flood"); !errors.Is(err, fanout.ErrTooBusy) {
			t.Errorf("got %v", err)
		}
		wg.Wait()
		if len(h.callers) != 0 || len(h.slots) != 0 {
			t.Errorf("%d callers and %d slots are left", len(h.callers), len(h.slots))
		}
	})
}

// TestHeavyRequestsDoNotWaitTheirTimeAway: whoever gets a turn has most of the time left for
// the work, though more comes than can be done, and who gets none learns that early.
func TestHeavyRequestsDoNotWaitTheirTimeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 15 * time.Second
		h := newHeavy(timeout)
		var wg sync.WaitGroup
		var served, refused int
		var mu sync.Mutex
		for range 600 { // 20 a second, where 10 can be done
			time.Sleep(50 * time.Millisecond) //nolint:forbidigo // the bubble's clock
			wg.Go(func() {
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				err := h.enter(ctx, "flood")
				if took := time.Since(begin); took > timeout/3 {
					t.Errorf("waited %v of %v", took, timeout)
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused++
					return
				}
				served++
				mu.Unlock()
				h.rest()
				time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the bubble's clock
				h.end("flood")
				mu.Lock()
			})
		}
		wg.Wait()
		if served < 250 || refused < 150 {
			t.Errorf("%d were served and %d refused", served, refused)
		}
	})
}
