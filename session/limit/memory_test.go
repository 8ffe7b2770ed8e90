package limit_test

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session/limit"
)

func TestStages(t *testing.T) {
	for _, tc := range []struct {
		was     limit.Stage
		percent uint64
		want    limit.Stage
	}{
		{limit.Calm, 0, limit.Calm},
		{limit.Calm, 79, limit.Calm},
		{limit.Calm, 80, limit.NoHandshakes},
		{limit.Calm, 200, limit.ShedConnection},
		{limit.NoHandshakes, 76, limit.NoHandshakes}, // hysteresis
		{limit.NoHandshakes, 74, limit.Calm},
		{limit.NoHandshakes, 85, limit.NoHistories},
		{limit.NoHistories, 81, limit.NoHistories},
		{limit.NoHistories, 79, limit.NoHandshakes},
		{limit.ShedConnection, 90, limit.ShedConnection},
		{limit.ShedConnection, 89, limit.NoBatches},
		{limit.ShedConnection, 10, limit.Calm},
	} {
		if got := limit.StageAt(tc.was, tc.percent); got != tc.want {
			t.Errorf("%d%% after %q: %q, want %q", tc.percent, tc.was, got, tc.want)
		}
	}
}

// TestMemoryShedsTheNewestWorkFirst walks through all stages and back.
func TestMemoryShedsTheNewestWorkFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(*limit.Config) {})
		var percent atomic.Uint64
		var collections atomic.Uint64
		l.SetMemory(100<<20, func() (uint64, uint64) { return percent.Load() << 20, collections.Add(2) }, func() {})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var shed atomic.Int32
		wg.Go(func() { l.Run(ctx, func(int) int { shed.Add(1); return 3 }) })
		p := limit.NewPublisher(noStore{}, l)
		r := limit.NewReader(noLog{}, l)
		handshake := func() error { return l.Handshake(t.Context(), netip.Addr{}, true) }
		history := func() error { _, err := r.History(t.Context(), fanout.HistoryQuery{Limit: 1000}); return err }
		short := func() error { _, err := r.History(t.Context(), fanout.HistoryQuery{Limit: 50}); return err }
		batch := func() error {
			m := publication(t, "a:x", "key:ci")
			m.Data = make([]byte, limit.LargeBody)
			_, err := p.Publish(t.Context(), m)
			return err
		}
		single := func() error { _, err := p.Publish(t.Context(), publication(t, "a:x", "key:ci")); return err }
		for _, step := range []struct {
			percent uint64
			refused int // of handshake, history, batch
			sheds   bool
		}{{50, 0, false}, {82, 1, false}, {87, 2, false}, {92, 3, false}, {97, 3, true}, {88, 3, false}, {84, 2, false}, {50, 0, false}} {
			percent.Store(step.percent)
			time.Sleep(1500 * time.Millisecond) //nolint:forbidigo // the bubble's clock
			before := shed.Load()
			time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
			if got := shed.Load() - before; (got > 0) != step.sheds {
				t.Errorf("at %d%% connections were closed %d times", step.percent, got)
			}
			for i, what := range []struct {
				do     func() error
				reason limit.Reason
			}{{handshake, limit.ReasonMemoryHandshake}, {history, limit.ReasonMemoryHistory}, {batch, limit.ReasonMemoryBatch}} {
				err := what.do()
				if i >= step.refused {
					if err != nil {
						t.Errorf("at %d%%: %v", step.percent, err)
					}
					continue
				}
				if e := refusal(t, err, what.reason); !e.Node || e.RetryAfter < time.Second {
					t.Errorf("%+v: want 503 with a time", e)
				}
			}
			if err := short(); err != nil {
				t.Errorf("a short history at %d%%: %v", step.percent, err)
			}
			if err := single(); err != nil {
				t.Errorf("a small publish at %d%%: %v", step.percent, err)
			}
		}
		cancel()
		wg.Wait()
	})
}

// process is one whose need is known by collections alone.
type process struct {
	mu          sync.Mutex // guards the following
	needs       uint64     // now
	found       uint64     // by the last collection
	collections uint64
}

func (h *process) read() (needed, collections uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.found, h.collections
}

func (h *process) collect() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.found, h.collections = h.needs, h.collections+1
}

func (h *process) set(needs uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.needs = needs
}

// TestMemoryJudgesByNewCollections: what the last collection found alive may be gone, and
// no other need come by itself.
func TestMemoryJudgesByNewCollections(t *testing.T) {
	for _, tc := range []struct {
		name    string
		found   uint64 // by a collection before
		needs   uint64 // at the first look
		freed   uint64 // by each closing
		closed  int    // in ten minutes, at least and at most
		most    int
		stage   limit.Stage // then
		without int         // collections that are made, at most
	}{
		{"what was short is free again", 99, 30, 0, 0, 0, limit.Calm, 1},
		{"one closing frees enough", 99, 99, 60, 1, 1, limit.Calm, 5},
		{"each closing frees some", 99, 99, 2, 5, 5, limit.NoBatches, 125},
		{"no closing frees any", 99, 99, 0, 11, 13, limit.ShedConnection, 125},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, func(*limit.Config) {})
				h := &process{needs: tc.found}
				h.collect()
				h.set(tc.needs)
				l.SetMemory(100, h.read, h.collect)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				closed, needs := 0, tc.needs
				l.Run(ctx, func(int) int {
					closed++
					needs -= tc.freed
					h.set(needs)
					return 1
				})
				if closed < tc.closed || closed > tc.most {
					t.Errorf("connections were closed %d times, want %d to %d", closed, tc.closed, tc.most)
				}
				if l.Stage() != tc.stage {
					t.Errorf("then: %q, want %q", l.Stage(), tc.stage)
				}
				if _, n := h.read(); n > uint64(tc.without)+1 {
					t.Errorf("%d collections were made, want at most %d", n-1, tc.without)
				}
			})
		})
	}
}

// TestMemoryCollectsAtABoundedRate: where a collection takes long, the next waits longer.
func TestMemoryCollectsAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(*limit.Config) {})
		h := &process{needs: 92}
		h.collect()
		l.SetMemory(100, h.read, func() {
			time.Sleep(3 * time.Second) //nolint:forbidigo // the bubble's clock
			h.collect()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		l.Run(ctx, func(int) int { return 0 })
		if _, n := h.read(); n < 600/17 || n > 600/15+2 {
			t.Errorf("%d collections of 3 s in 10 minutes, want one in 15 s or so", n)
		}
	})
}

func TestNeededIsWhatLives(t *testing.T) {
	if n := limit.Needed(); n < 1<<20 || n > 8<<30 {
		t.Errorf("a small process needs %d bytes", n)
	}
}

type noLog struct{}

func (noLog) History(context.Context, fanout.HistoryQuery) (fanout.HistoryPage, error) {
	return fanout.HistoryPage{}, nil
}
