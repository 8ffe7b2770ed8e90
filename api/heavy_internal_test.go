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
		h := &heavy{slots: make(chan struct{}, 1), callers: make(map[string]*heavyCaller)}
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
