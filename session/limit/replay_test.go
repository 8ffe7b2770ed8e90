package limit_test

import (
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/session/limit"
)

// takeAll takes what replays let pass until each has got so many, and returns how long that took
// and how often one was woken.
func takeAll(t *testing.T, l *limit.Limiter, caller string, connections, each int) (took time.Duration, wakes int) {
	t.Helper()
	begin := time.Now()
	wake := make(chan int, connections)
	list := make([]*limit.Replay, connections)
	got := make([]int, connections)
	for i := range list {
		list[i] = l.NewReplay(caller, netip.Addr{}, "", func() { wake <- i })
		list[i].Begin()
		wake <- i
	}
	for left := connections; left > 0; wakes++ {
		i := <-wake
		for got[i] < each && list[i].Take() {
			got[i]++
		}
		if got[i] == each {
			list[i].Stop()
			left--
		}
	}
	return time.Since(begin), wakes
}

// TestReplaysAreSpread: all replays of a caller together are sent four times what it may read, after
// three quarters of what it may at once; the rest is left to its other reads, which none of
// them is in the way of.
func TestReplaysAreSpread(t *testing.T) {
	for name, tc := range map[string]struct {
		connections, each int
		longer            int // at most, in percent
	}{
		"one":                {1, 100_000, 102},
		"a few":              {8, 12_500, 102},
		"a thousand of them": {1000, 100, 140},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := prometheus.NewRegistry()
				cfg := limit.DefaultConfig()
				cfg.Reads = limit.Times(1000, 4)
				l, err := limit.New(cfg, slog.New(slog.DiscardHandler), reg)
				if err != nil {
					t.Fatal(err)
				}
				const free = 3000 * 4
				paid := 40 * tc.connections // with the reads that let them begin
				took, wakes := takeAll(t, l, "user:ann", tc.connections, tc.each)
				want := time.Duration(max(0, 100_000-free-paid)) * time.Second / 4000
				// What a connection has reserved and does not use is lost.
				if took < want*9/10 || took.Milliseconds() > want.Milliseconds()*int64(tc.longer)/100 {
					t.Errorf("100,000 messages took %v, want about %v", took, want)
				}
				// Each is woken when it is its turn, and not with the others for nothing.
				if most := tc.connections + 100_000/64; wakes > most {
					t.Errorf("%d wakes, at most %d were of use", wakes, most)
				}
				if tc.connections > 100 {
					return // what each has reserved is more than is kept for others
				}
				if err := l.Read(t.Context(), "user:ann", netip.Addr{}, "", 500); err != nil {
					t.Errorf("beside the replay: %v", err)
				}
				if err := l.Read(t.Context(), "user:bob", netip.Addr{}, "", 4000); err != nil {
					t.Errorf("another caller: %v", err)
				}
			})
		})
	}
}

// TestAShortReplayCostsWhatItsReadHasPaid: who has missed little takes nothing from the
// bucket, however many resume.
func TestAShortReplayCostsWhatItsReadHasPaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := limit.DefaultConfig()
		cfg.Reads = limit.Rate{PerSecond: 10, Burst: 1000}
		l, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		for range 100 { // a crowd of one user's, each with a read of 10
			if err := l.Read(t.Context(), "user:ann", netip.Addr{}, "", 0); err != nil {
				t.Fatal(err)
			}
			p := l.NewReplay("user:ann", netip.Addr{}, "", func() { t.Error("one was put off") })
			p.Begin()
			for i := range 40 {
				if !p.Take() {
					t.Fatalf("message %d is too much", i)
				}
			}
			p.Give()
			if !p.Take() {
				t.Fatal("what was given back is gone")
			}
			p.Stop()
		}
	})
}

// TestWhoHasNoLimitOfReplays: without a limit of reads, or a name for the caller, there is
// nothing to hold.
func TestWhoHasNoLimitOfReplays(t *testing.T) {
	cfg := limit.DefaultConfig()
	l, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Reads = limit.Rate{}
	unlimited, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	var none *limit.Limiter
	for name, p := range map[string]*limit.Replay{
		"no limiter":        none.NewReplay("user:ann", netip.Addr{}, "", nil),
		"no limit":          unlimited.NewReplay("user:ann", netip.Addr{}, "", nil),
		"an exempt address": l.NewReplay("user:", netip.MustParseAddr("127.0.0.1"), "", nil),
	} {
		if p != nil {
			t.Errorf("%s: a replay is held", name)
		}
		p.Begin()
		p.Give()
		if !p.Take() {
			t.Errorf("%s: a message is put off", name)
		}
		p.Stop()
	}
	if l.NewReplay("user:", netip.MustParseAddr("192.0.2.1"), "", nil) == nil || l.NewReplay("user:", netip.Addr{}, "c1", nil) == nil {
		t.Error("the nameless are held by address, else by connection")
	}
}
