package limit_test

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	xrate "golang.org/x/time/rate"

	"github.com/rivulet-rt/rivulet/session/limit"
)

// TestTableIsATokenBucket compares random takes with the well-known limiter.
func TestTableIsATokenBucket(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			// A nanosecond holds a whole number of these, so that both round alike.
			perSecond := []int64{1, 2, 5, 10, 100, 1000}[random.IntN(6)]
			r := limit.Rate{PerSecond: perSecond, Burst: 1 + random.Int64N(50)}
			table := limit.NewTable[string](limit.NewClock(), 1000, nil)
			want := xrate.NewLimiter(xrate.Limit(perSecond), int(r.Burst))
			for range 300 {
				n := 1 + random.Int64N(r.Burst)
				now := time.Now()
				reservation := want.ReserveN(now, int(n))
				delay := reservation.DelayFrom(now)
				if delay > 0 {
					reservation.CancelAt(now)
				}
				got := table.Take("who", r, n)
				if diff := got - delay; diff < -time.Microsecond || diff > time.Microsecond {
					t.Fatalf("rate %+v, take %d: wait %v, want %v", r, n, got, delay)
				}
				if got > 0 && random.IntN(2) == 0 {
					time.Sleep(got) //nolint:forbidigo // the bubble's clock
					if w := table.Take("who", r, n); w > 0 {
						t.Fatalf("after the wait it told, another of %v", w)
					}
					if !want.AllowN(time.Now().Add(time.Microsecond), int(n)) {
						t.Fatal("the model refuses")
					}
				}
				time.Sleep(time.Duration(random.Int64N(int64(2 * time.Second / time.Duration(perSecond))))) //nolint:forbidigo // the bubble's clock
			}
		})
	}
}

// TestTableHoldsTheRate: whatever is asked, in any window no more than burst and rate is
// given, but for one batch that is larger than the burst and is paid for afterwards.
func TestTableHoldsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		r := limit.Rate{PerSecond: 100, Burst: 20}
		table := limit.NewTable[int](limit.NewClock(), 1000, nil)
		begin, taken, largest := time.Now(), int64(0), int64(0)
		for time.Since(begin) < time.Minute {
			n := 1 + random.Int64N(60)
			if table.Take(7, r, n) == 0 {
				taken, largest = taken+n, max(largest, n)
			}
			time.Sleep(time.Duration(random.Int64N(int64(20 * time.Millisecond)))) //nolint:forbidigo // the bubble's clock
		}
		if most := r.Burst + int64(time.Since(begin).Seconds()*100) + largest; taken > most {
			t.Errorf("%d were given in a minute, at most %d may be", taken, most)
		}
		if taken < 5000 {
			t.Errorf("only %d were given in a minute, of 6000 earned", taken)
		}
	})
}

// TestTableIsBounded: more callers than it holds, all in debt, share what is left.
func TestTableIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 640
		crowded := 0
		table := limit.NewTable[string](limit.NewClock(), most, func() { crowded++ })
		r := limit.Rate{PerSecond: 1, Burst: 5}
		passed := 0
		for i := range 20_000 {
			if table.Take(strconv.Itoa(i), r, 5) == 0 {
				passed++
			}
			if n := table.Len(); n > most {
				t.Fatalf("it holds %d callers, at most %d may be", n, most)
			}
		}
		if passed > most+64 { // each shard's shared bucket was full once
			t.Errorf("%d of 20000 callers got their burst, at most %d may", passed, most+64)
		}
		if crowded == 0 {
			t.Error("nobody was told of the crowd")
		}
		// Who is known keeps a bucket of its own, and idle ones make room.
		time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's clock
		for i := range 64 {          // so few that no shard gets more than it holds
			if w := table.Take("late"+strconv.Itoa(i), r, 1); w > 0 {
				t.Fatalf("caller %d waits %v where all others are idle", i, w)
			}
		}
	})
}

func TestTableForgetsTheIdleWithoutLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := limit.NewTable[int](limit.NewClock(), 100_000, nil)
		r := limit.Rate{PerSecond: 10, Burst: 10}
		for i := range 10_000 {
			table.Take(i, r, 1)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		for i := range 1000 {   // some in every shard
			table.Take(-1-i, r, 1)
		}
		if n := table.Len(); n > 1000 {
			t.Errorf("%d callers are remembered, 9000 of them idle", n-1000)
		}
	})
}

// TestTableForgetsWhenNobodyComes: what a crowd has left goes, its memory too, and who is
// in debt stays.
func TestTableForgetsWhenNobodyComes(t *testing.T) {
	const crowd = 100_000
	table := limit.NewTable[int](limit.NewClock(), crowd, nil)
	before := heap()
	for i := range crowd {
		table.Take(i, limit.Rate{PerSecond: 1_000_000_000, Burst: 1}, 1) // idle a nanosecond later
	}
	debt := limit.Rate{PerSecond: 1, Burst: 1000}
	table.Take(-1, debt, 1000)
	full := heap() - before
	table.Forget()
	if n := table.Len(); n != 1 {
		t.Errorf("%d callers are remembered, want the one in debt", n)
	}
	if table.Take(-1, debt, 1000) == 0 {
		t.Error("who was in debt is not any more")
	}
	if left := heap() - before; left > full/10 {
		t.Errorf("%d bytes are left of %d", left, full)
	}
	runtime.KeepAlive(table)
}

// heap is how many bytes are alive.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestTableGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := limit.NewTable[string](limit.NewClock(), 100, nil)
		r := limit.Rate{PerSecond: 1, Burst: 2}
		for range 10 {
			if w := table.Take("a", r, 2); w > 0 {
				t.Fatalf("wait %v for what was given back", w)
			}
			table.Give("a", r, 2)
		}
	})
}

func TestTakingAllocatesNothing(t *testing.T) {
	table := limit.NewTable[string](limit.NewClock(), 100, nil)
	r := limit.Rate{PerSecond: 1000, Burst: 10}
	table.Take("user:ann", r, 1)
	if n := testing.AllocsPerRun(1000, func() { table.Take("user:ann", r, 1) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCounts(t *testing.T) {
	c := limit.NewCounts[string]()
	var wg sync.WaitGroup
	var mu sync.Mutex
	added := 0
	for range 50 {
		wg.Go(func() {
			if c.Add("ann", 20) {
				mu.Lock()
				added++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if added != 20 || c.Of("ann") != 20 {
		t.Errorf("%d were added, %d are counted; want 20", added, c.Of("ann"))
	}
	for range added {
		c.Remove("ann")
	}
	if c.Of("ann") != 0 || !c.Add("ann", 1) {
		t.Error("removing does not make room")
	}
}

func BenchmarkTake(b *testing.B) {
	r := limit.Rate{PerSecond: 1_000_000_000, Burst: 1000}
	b.Run("table", func(b *testing.B) {
		table := limit.NewTable[string](limit.NewClock(), 100_000, nil)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				table.Take(names[i%len(names)], r, 1)
			}
		})
	})
	b.Run("x-time-rate", func(b *testing.B) {
		var mu sync.Mutex
		limiters := map[string]*xrate.Limiter{}
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				mu.Lock()
				l := limiters[names[i%len(names)]]
				if l == nil {
					l = xrate.NewLimiter(1e9, 1000)
					limiters[names[i%len(names)]] = l
				}
				mu.Unlock()
				l.Allow()
			}
		})
	})
}

// BenchmarkMemory reports what one caller costs.
func BenchmarkMemory(b *testing.B) {
	const callers = 100_000
	for b.Loop() {
		before := heap()
		table := limit.NewTable[int](limit.NewClock(), callers, nil)
		for i := range callers {
			table.Take(i, limit.Rate{PerSecond: 1, Burst: 1}, 1)
		}
		b.ReportMetric(float64(heap()-before)/callers, "table-B/caller")
		runtime.KeepAlive(table)
		before = heap()
		limiters := map[int]*xrate.Limiter{}
		for i := range callers {
			limiters[i] = xrate.NewLimiter(1, 1)
		}
		b.ReportMetric(float64(heap()-before)/callers, "x-time-B/caller")
		runtime.KeepAlive(limiters)
	}
}

var names = func() (list []string) {
	for i := range 1024 {
		list = append(list, "user:"+strconv.Itoa(i))
	}
	return list
}()

// TestPeekTakesNothing: not even of those who share a bucket for want of a place.
func TestPeekTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := limit.Rate{PerSecond: 1, Burst: 10}
		table := limit.NewTable[int](limit.NewClock(), 1, nil) // one place in each shard
		for i := range 1000 {
			table.Take(i, r, 1)
		}
		time.Sleep(8 * time.Second) //nolint:forbidigo // the bubble's clock
		for i := range 1000 {
			before := table.Peek(i, r, 9)
			for range 20 {
				table.Peek(i, r, 1)
			}
			if after := table.Peek(i, r, 9); after != before {
				t.Fatalf("caller %d is to wait %v, and after it asked %v", i, before, after)
			}
			if got := table.Take(i, r, 9); got != before {
				t.Fatalf("caller %d is to wait %v, and then %v", i, before, got)
			}
		}
	})
}
