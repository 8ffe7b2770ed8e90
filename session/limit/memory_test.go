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
		l.SetMemory(100<<20, func() uint64 { return percent.Load() << 20 })
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

func TestNeededIsWhatLives(t *testing.T) {
	if n := limit.Needed(); n < 1<<20 || n > 8<<30 {
		t.Errorf("a small process needs %d bytes", n)
	}
}

type noLog struct{}

func (noLog) History(context.Context, fanout.HistoryQuery) (fanout.HistoryPage, error) {
	return fanout.HistoryPage{}, nil
}
