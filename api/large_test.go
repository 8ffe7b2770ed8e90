package api_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestLargePublishesOfOneCallerTakeTurns: of one caller one large publish at a time is worked
// on, whatever it waits for; those of others, and small ones, do not wait for it.
func TestLargePublishesOfOneCallerTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, inLog := make(chan struct{}), atomic.Int64{}
		h := newHarness(t, func(h *harness) {
			h.auth = byToken{}
			h.log.before = func(context.Context) {
				inLog.Add(1)
				<-hold
			}
		})
		var wg sync.WaitGroup
		publish := func(times int, caller, data string) {
			for range times {
				wg.Go(func() {
					r := h.request("POST", lobby, `{"data":"`+data+`"}`, "Authorization", "Bearer "+caller)
					if code := h.raw(r).Code; code != http.StatusCreated {
						t.Errorf("%s: %d", caller, code)
					}
				})
			}
		}
		large, small := strings.Repeat("x", 60<<10), "x"
		for _, step := range []struct {
			times  int
			caller string
			data   string
			inLog  int64 // when all have come as far as they do
		}{
			{4, "mallory", large, 1},
			{1, "ann", large, 2},
			{2, "ann", small, 4},
			{2, "mallory", small, 6},
		} {
			publish(step.times, step.caller, step.data)
			synctest.Wait()
			if n := inLog.Load(); n != step.inLog {
				t.Errorf("after %d of %d bytes by %s: %d are at work, want %d", step.times, len(step.data), step.caller, n, step.inLog)
			}
		}
		close(hold)
		wg.Wait()
		if n := inLog.Load(); n != 9 {
			t.Errorf("%d were stored, want 9", n)
		}
	})
}
