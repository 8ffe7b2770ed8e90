package limit_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/session/limit"
)

func newLimiter(t *testing.T, change func(*limit.Config)) *limit.Limiter {
	t.Helper()
	cfg := limit.DefaultConfig()
	change(&cfg)
	l, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func refusal(t *testing.T, err error, reason limit.Reason) *limit.Error {
	t.Helper()
	e, ok := errors.AsType[*limit.Error](err)
	if !ok || e.Reason != reason {
		t.Fatalf("got %v, want a refusal because of %s", err, reason)
	}
	return e
}

// TestAStormIsAdmittedAtTheRate: of a crowd at once, a burst goes in, a queue waits, the
// rest is told to come back one after the other.
func TestAStormIsAdmittedAtTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) {
			c.Handshakes, c.HandshakeQueue, c.HandshakeWait = limit.Rate{PerSecond: 100, Burst: 50}, 200, 30*time.Second
		})
		begin := time.Now()
		var mu sync.Mutex
		var admitted, retries []time.Duration
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				err := l.Handshake(t.Context(), netip.Addr{}, false)
				mu.Lock()
				defer mu.Unlock()
				if e, ok := errors.AsType[*limit.Error](err); ok {
					retries = append(retries, e.RetryAfter)
					return
				}
				admitted = append(admitted, time.Since(begin))
			})
		}
		wg.Wait()
		if len(admitted) != 250 || len(retries) != 750 {
			t.Fatalf("%d were let in and %d refused, want 250 and 750", len(admitted), len(retries))
		}
		slices.Sort(admitted)
		if admitted[49] != 0 || admitted[249] < 1900*time.Millisecond || admitted[249] > 2100*time.Millisecond {
			t.Errorf("the burst went in after %v, the queue after %v; want 0 and 2s", admitted[49], admitted[249])
		}
		slices.Sort(retries)
		// 750 at 100 a second, after the 200 that wait: from 2 s to 9.5 s, and up to a quarter.
		if retries[0] < 2*time.Second || retries[749] > 12*time.Second || retries[749]-retries[0] < 6*time.Second {
			t.Errorf("the refused are to come back after %v to %v; want them spread over 2s to 9.5s and a quarter", retries[0], retries[749])
		}
	})
}

func TestResumedHandshakesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) {
			c.Handshakes, c.HandshakeQueue, c.HandshakeWait = limit.Rate{PerSecond: 10, Burst: 1}, 40, time.Minute
		})
		if err := l.Handshake(t.Context(), netip.Addr{}, false); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []bool
		refused := 0
		var wg sync.WaitGroup
		arrive := func(resumes bool) {
			wg.Go(func() {
				err := l.Handshake(t.Context(), netip.Addr{}, resumes)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused++
					return
				}
				order = append(order, resumes)
			})
			synctest.Wait()
		}
		for range 40 {
			arrive(false)
		}
		for range 20 {
			arrive(true) // the queue is full: each takes the place of the newest newcomer
		}
		arrive(false)
		wg.Wait()
		if refused != 21 {
			t.Errorf("%d were refused, want the 20 that made room and the last", refused)
		}
		count := func(list []bool) (n int) {
			for _, resumes := range list {
				if resumes {
					n++
				}
			}
			return n
		}
		if first := count(order[:22]); first < 19 {
			t.Errorf("%d of the first 22 let in resume, want nearly all of 20: %v", first, order)
		}
		if n := count(order[:16]); n < 14 || n > 15 {
			t.Errorf("%d of the first 16 let in resume: one in eight is to be a newcomer: %v", n, order)
		}
	})
}

func TestAWaitingHandshakeGoesAwayWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) {
			c.Handshakes, c.HandshakeQueue, c.HandshakeWait = limit.Rate{PerSecond: 1, Burst: 1}, 1, time.Minute
		})
		if err := l.Handshake(t.Context(), netip.Addr{}, false); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Handshake(ctx, netip.Addr{}, false) }()
		synctest.Wait()
		_ = refusal(t, l.Handshake(t.Context(), netip.Addr{}, false), limit.ReasonQueueFull)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		go func() { done <- l.Handshake(t.Context(), netip.Addr{}, false) }() // there is room again
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAHandshakeDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) {
			c.Handshakes, c.HandshakeQueue, c.HandshakeWait = limit.Rate{PerSecond: 1, Burst: 1}, 100, 5*time.Second
		})
		begin := time.Now()
		var mu sync.Mutex
		late := 0
		var wg sync.WaitGroup
		for range 101 {
			wg.Go(func() {
				if l.Handshake(t.Context(), netip.Addr{}, false) != nil {
					mu.Lock()
					late++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took > 5*time.Second || late < 94 || late > 95 {
			t.Errorf("%d were refused after %v, want 95 after 5s", late, took)
		}
	})
}

func TestOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) {
			c.HandshakesPerIP, c.ConnectionsPerIP = limit.Rate{PerSecond: 1, Burst: 3}, 2
		})
		enter := func(addr string) error {
			return l.Handshake(t.Context(), netip.MustParseAddr(addr), false)
		}
		for range 3 {
			if err := enter("203.0.113.7"); err != nil {
				t.Fatal(err)
			}
		}
		e := refusal(t, enter("203.0.113.7"), limit.ReasonHandshakesIP)
		if e.Node || e.RetryAfter < time.Second {
			t.Errorf("%+v: want 429 and a second", e)
		}
		_ = refusal(t, enter("::ffff:203.0.113.7"), limit.ReasonHandshakesIP) // the same, written otherwise
		for _, other := range []string{"203.0.113.8", "127.0.0.1", "::1"} {
			if err := enter(other); err != nil {
				t.Errorf("%s: %v", other, err)
			}
		}
		for i, addr := range []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"} {
			if err := enter(addr); err != nil {
				t.Errorf("handshake %d of the network: %v", i, err)
			}
		}
		_ = refusal(t, enter("2001:db8::4"), limit.ReasonHandshakesIP) // one /64 is one caller
		if err := enter("2001:db8:0:1::1"); err != nil {
			t.Error(err)
		}
		for range 100 {
			if err := enter("127.0.0.1"); err != nil {
				t.Fatalf("an exempt address: %v", err)
			}
		}

		a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2%eth0")
		if err := errors.Join(l.AddAddress(a), l.AddAddress(b)); err != nil {
			t.Fatal(err)
		}
		_ = refusal(t, l.AddAddress(a), limit.ReasonConnectionsIP)
		l.RemoveAddress(b)
		if err := l.AddAddress(a); err != nil {
			t.Error(err)
		}
	})
}

// TestOneLineDoesNotHaveTheDoor: a subscriber with 256 networks whose every handshake says
// that it resumes, as fast as it is answered, and others who come now and then.
func TestOneLineDoesNotHaveTheDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) { // a hundredth of the defaults
			c.HandshakesPerIP, c.Handshakes = limit.Times(2, 10), limit.Times(20, 1)
			c.HandshakeQueue, c.HandshakeWait = 41, 500*time.Millisecond
		})
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 256 {
			addr := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(i), 15: 1})
			wg.Go(func() {
				for ctx.Err() == nil {
					if l.Handshake(ctx, addr, true) != nil {
						time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the bubble's clock
					}
				}
			})
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
		for i := range 20 {
			if err := l.Handshake(ctx, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), i%2 == 0); err != nil {
				t.Errorf("the handshake of another address, resuming: %t: %v", i%2 == 0, err)
			}
			time.Sleep(400 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		}
		cancel()
		wg.Wait()
	})
}

// TestOneLineHasARate: the networks of a line are told apart, but together they connect
// four times as often as one.
func TestOneLineHasARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) { c.HandshakesPerIP = limit.Times(1, 10) })
		var in atomic.Int32
		var wg sync.WaitGroup
		for i := range 256 {
			wg.Go(func() {
				if l.Handshake(t.Context(), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(i), 15: 1}), false) == nil {
					in.Add(1)
				}
			})
		}
		wg.Wait()
		if n := in.Load(); n != 40 {
			t.Errorf("%d were let in at once, want 40", n)
		}
		if err := l.Handshake(t.Context(), netip.MustParseAddr("2001:db8:0:100::1"), false); err != nil {
			t.Errorf("another line: %v", err)
		}
	})
}

// TestOneCallerHasAShareOfTheQueue: the rest of it is for others.
func TestOneCallerHasAShareOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) {
			c.Handshakes, c.HandshakeQueue, c.HandshakeWait = limit.Rate{PerSecond: 10, Burst: 1}, 160, time.Minute
		})
		ctx, cancel := context.WithCancel(t.Context())
		var full atomic.Int32
		var wg sync.WaitGroup
		for i := range 101 { // one goes in
			wg.Go(func() {
				err := l.Handshake(ctx, netip.MustParseAddr("203.0.113.7"), i%2 == 0)
				if e, ok := errors.AsType[*limit.Error](err); ok && e.Reason == limit.ReasonQueueFull {
					full.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := full.Load(); n != 90 {
			t.Errorf("%d of one address found no place, want 90 of 100", n)
		}
		begin := time.Now()
		if err := l.Handshake(t.Context(), netip.MustParseAddr("203.0.113.8"), false); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 400*time.Millisecond {
			t.Errorf("another waits for %v, want its turn and not the queue's", took)
		}
		cancel()
		wg.Wait()
	})
}
