package limit_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"sync/atomic"
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

// TestReplaysAreSpread: all replays of a caller together are sent four times what it may read, and
// at once four times what it may at once.
func TestReplaysAreSpread(t *testing.T) {
	for name, tc := range map[string]struct {
		connections, each int
		longer            int // at most, in percent
	}{
		"one":                {1, 100_000, 102},
		"a few":              {8, 12_500, 102},
		"a thousand of them": {1000, 100, 115},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := limiterOfReads(t, limit.Times(1000, 4))
				const free = 4000 * 4
				paid := 40 * tc.connections // with the reads that let them begin
				took, wakes := takeAll(t, l, "user:ann", tc.connections, tc.each)
				want := time.Duration(max(0, 100_000-free-paid)) * time.Second / 4000
				// What a connection has reserved and does not use comes too late for some.
				if took < want*9/10 || took.Milliseconds() > want.Milliseconds()*int64(tc.longer)/100 {
					t.Errorf("100,000 messages took %v, want about %v", took, want)
				}
				// Each is woken when it is its turn, and not with the others for nothing.
				if most := tc.connections + 100_000/64; wakes > most {
					t.Errorf("%d wakes, at most %d were of use", wakes, most)
				}
				bob, wakes := takeAll(t, l, "user:bob", 1, free)
				if bob != 0 || wakes != 1 {
					t.Errorf("another caller waited %v", bob)
				}
			})
		})
	}
}

// TestAShortReplayCostsWhatItsReadHasPaid: who has missed little takes nothing from the
// bucket, however many resume.
func TestAShortReplayCostsWhatItsReadHasPaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiterOfReads(t, limit.Rate{PerSecond: 10, Burst: 1000})
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

// TestReadsBesideReplays: however many connections of a caller replay, its other reads are let in
// as often as they may be, and what is replayed comes no slower for them.
func TestReadsBesideReplays(t *testing.T) {
	for _, connections := range []int{1, 8, 60, 1000} {
		t.Run(strconv.Itoa(connections), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := limiterOfReads(t, limit.Times(5000, 4))
				const lasts = time.Minute
				ctx, cancel := context.WithTimeout(t.Context(), lasts)
				defer cancel()
				got := replayUntil(ctx, l, connections)
				read := 0
				for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
					if err := l.Read(ctx, "user:ann", netip.Addr{}, "", 50); err != nil {
						t.Fatalf("after %d messages read: %v", read, err)
					}
					read += 50
				}
				const want = 4 * 5000 * int(lasts/time.Second)
				if n := <-got; n < want || n > want+4*20_000+connections*(40+400) {
					t.Errorf("%d messages were replayed within %v, want %d and little more", n, lasts, want)
				}
			})
		})
	}
}

// replayUntil lets connections of user:ann replay until ctx ends, and tells how many messages they
// got.
func replayUntil(ctx context.Context, l *limit.Limiter, connections int) <-chan int {
	wake := make(chan int, connections)
	list := make([]*limit.Replay, connections)
	for i := range list {
		list[i] = l.NewReplay("user:ann", netip.Addr{}, "", func() { wake <- i })
		list[i].Begin()
		wake <- i
	}
	got := make(chan int, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			select {
			case i := <-wake:
				for list[i].Take() {
					n++
				}
			case <-ctx.Done():
			}
		}
		for _, p := range list {
			p.Stop()
		}
		got <- n
	}()
	return got
}

// TestWhoFinishesAReplayIsWoken: a connection whose replay ends while it waits for its turn is woken
// at once and once, since others of it may wait with it; one that does not wait, or ends
// itself, is not.
func TestWhoFinishesAReplayIsWoken(t *testing.T) {
	for name, tc := range map[string]struct {
		waits bool
		after time.Duration // how long it has waited
		end   func(*limit.Replay)
		woken int
	}{
		"waiting":           {true, 0, (*limit.Replay).Finish, 1},
		"when it is woken":  {true, 16 * time.Second, (*limit.Replay).Finish, 1},
		"woken already":     {true, 17 * time.Second, (*limit.Replay).Finish, 1},
		"finished twice":    {true, 0, func(p *limit.Replay) { p.Finish(); p.Finish() }, 1},
		"not waiting":       {false, 0, (*limit.Replay).Finish, 0},
		"with a connection": {true, 0, (*limit.Replay).Stop, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := limiterOfReads(t, limit.Rate{PerSecond: 1, Burst: 16})
				var woken atomic.Int32
				var last atomic.Int64
				begin := time.Now()
				p := l.NewReplay("user:ann", netip.Addr{}, "", func() {
					woken.Add(1)
					last.Store(int64(time.Since(begin)))
				})
				for n := 0; n < 64 || tc.waits; n++ {
					if !p.Take() {
						break
					}
				}
				<-time.After(tc.after)
				tc.end(p)
				synctest.Wait()
				if at := time.Duration(last.Load()); int(woken.Load()) != tc.woken || at > tc.after {
					t.Errorf("woken %d times by %v", woken.Load(), at)
				}
				<-time.After(time.Minute)
				if int(woken.Load()) != tc.woken {
					t.Errorf("woken %d times, want %d", woken.Load(), tc.woken)
				}
			})
		})
	}
}

// TestReplaysThatEndTakeNothingAlong: what a connection had reserved and does not use is there for
// the caller's others, once.
func TestReplaysThatEndTakeNothingAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiterOfReads(t, limit.Rate{PerSecond: 1000, Burst: 1600})
		if took, _ := takeAll(t, l, "user:ann", 1, 6400+40); took != 0 {
			t.Fatalf("what may come at once took %v", took)
		}
		for range 1000 { // each would have its turn behind the others
			p := l.NewReplay("user:ann", netip.Addr{}, "", func() {})
			if p.Take() {
				t.Fatal("there was room for one")
			}
			p.Finish()
			p.Stop()
		}
		// 1000 messages are 250 of 1000 a second.
		took, _ := takeAll(t, l, "user:ann", 1, 1000+40)
		if took < 240*time.Millisecond || took > 270*time.Millisecond {
			t.Errorf("1000 messages took %v", took)
		}
	})
}

func limiterOfReads(t *testing.T, reads limit.Rate) *limit.Limiter {
	t.Helper()
	cfg := limit.DefaultConfig()
	cfg.Reads = reads
	l, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return l
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
