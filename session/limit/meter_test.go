package limit_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/session/limit"
)

func TestCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) { c.Commands = limit.Rate{PerSecond: 10, Burst: 20} })
		var m limit.Meter
		stranger := false
		verdicts := func() (n [3]int) {
			for n[limit.Close] == 0 && n[limit.Pass]+n[limit.Refuse] < 1000 {
				v, retry := l.Command(&m, 0, stranger, limit.CommandCost)
				n[v]++
				if (v == limit.Refuse) != (retry > 0) {
					t.Fatalf("verdict %d with retry %v", v, retry)
				}
			}
			return n
		}
		if n := verdicts(); n[limit.Pass] != 20 || n[limit.Refuse] < 18 || n[limit.Refuse] > 22 {
			t.Errorf("of a flood %d passed and %d were refused before the close, want 20 and 20", n[limit.Pass], n[limit.Refuse])
		}
		m, stranger = limit.Meter{}, true
		if n := verdicts(); n[limit.Pass] != 10 || n[limit.Refuse] < 9 || n[limit.Refuse] > 11 {
			t.Errorf("of a stranger's flood %d passed and %d were refused before the close, want 10 and 10", n[limit.Pass], n[limit.Refuse])
		}

		m = limit.Meter{}
		for range 500 { // at the rate for ever
			if v, _ := l.Command(&m, 0, false, limit.CommandCost); v != limit.Pass {
				t.Fatal("a client at its rate was refused")
			}
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		}
		for _, cost := range []int64{limit.CommandCost, limit.CommandCost / 50, 1, 20 * limit.CommandCost} {
			m = limit.Meter{}
			passed, most := int64(0), int64((20+600)*limit.CommandCost)
			begin := time.Now()
			for time.Since(begin) < time.Minute { // over it, but waiting as it is told
				switch v, retry := l.Command(&m, 0, false, cost); v {
				case limit.Close:
					t.Fatalf("a client that waits as it is told was closed, at a cost of %d", cost)
				case limit.Refuse:
					time.Sleep(retry) //nolint:forbidigo // the bubble's clock
				case limit.Pass:
					passed += cost
				}
			}
			if passed > most || passed < most-2*max(cost, limit.CommandCost) {
				t.Errorf("a client that waits as it is told had %d of %d, at a cost of %d", passed, most, cost)
			}
		}
		m = limit.Meter{}
		for i := range 5 {
			if v, _ := l.Command(&m, 2, false, limit.CommandCost); (v != limit.Pass) != (i >= 4) {
				t.Errorf("command %d of a token with 2 a second: verdict %d", i, v)
			}
		}
	})
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) { c.OutboundBytes = 1000 })
		var woken atomic.Int32
		p := l.NewPacer(0, func() { woken.Add(1) })
		got := 0
		begin := time.Now()
		for time.Since(begin) < 10*time.Second {
			before := woken.Load()
			for p.Take(100) {
				got += 100
			}
			if p.Take(100) {
				t.Fatal("it has none, and then some")
			}
			time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
			if woken.Load() != before+1 {
				t.Fatalf("woken %d times after one wait", woken.Load()-before)
			}
		}
		if got < 10_000 || got > 12_000 {
			t.Errorf("%d bytes in 10 s at 1000 a second", got)
		}
		for p.Take(100) {
			got += 100
		}
		p.Stop()
		before := woken.Load()
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		if woken.Load() != before {
			t.Error("it wakes after its end")
		}
		if l.NewPacer(10, nil) == nil || newLimiter(t, func(*limit.Config) {}).NewPacer(0, nil) != nil {
			t.Error("a token makes a pacer, and no limit none")
		}
	})
}

// TestPacerGoesOn: who gets a new pacer for the old one has no new burst, at the same rate
// and at others.
func TestPacerGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) { c.OutboundBytes = 1000 })
		p := l.NewPacer(0, func() {})
		if l.Repace(p, 0, nil) != p || l.Repace(p, 2000, nil) != p {
			t.Error("the rate is the same, the pacer is not")
		}
		got, begin := 0, time.Now()
		for i := 0; time.Since(begin) < 10*time.Second; i++ {
			for p.Take(50) {
				got += 50
			}
			next := l.Repace(p, int64(900+i%2*50), func() {})
			if next == p {
				t.Fatal("the rate changes, the pacer does not")
			}
			p.Stop()
			p = next
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		}
		p.Stop()
		if got < 8000 || got > 11_000 {
			t.Errorf("%d bytes in 10 s at less than 1000 a second", got)
		}
		if l.Repace(nil, 0, nil) == nil || newLimiter(t, func(*limit.Config) {}).Repace(p, 0, nil) != nil {
			t.Error("a limit makes a pacer, and none has none")
		}
	})
}
