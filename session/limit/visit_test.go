package limit_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/session/limit"
)

func TestVisitsOfAnAddress(t *testing.T) {
	l := newLimiter(t, func(c *limit.Config) { c.ConnectionsPerIP = 10 })
	a, b := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
	n := 0
	for l.AddVisit(a) {
		n++
	}
	if n != 10+256 {
		t.Errorf("%d connections of an address that may have 10 clients", n)
	}
	if !l.AddVisit(b) || !l.AddVisit(netip.MustParseAddr("127.0.0.1")) {
		t.Error("another has none")
	}
	l.RemoveVisit(a)
	if !l.AddVisit(a) || l.AddVisit(a) {
		t.Error("one that ended leaves a place for one")
	}
	if err := l.AddAddress(a); err != nil {
		t.Errorf("clients are counted apart: %v", err)
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(c *limit.Config) { c.HandshakesPerIP = limit.Times(2, 5) })
		a, b := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
		n := 0
		for ; n < 100 && l.MayTry(t.Context(), a) == nil; n++ {
			l.Tried(a)
		}
		if n != 10 {
			t.Errorf("%d tokens were looked at, want the burst of 10", n)
		}
		e := refusal(t, l.MayTry(t.Context(), a), limit.ReasonFailures)
		if err := l.MayTry(t.Context(), b); err != nil {
			t.Errorf("another address: %v", err)
		}
		if err := l.Handshake(t.Context(), a, false); err != nil {
			t.Errorf("handshakes have a bucket of their own: %v", err)
		}
		time.Sleep(e.RetryAfter) //nolint:forbidigo // the bubble's clock
		if err := l.MayTry(t.Context(), a); err != nil {
			t.Errorf("after the time that it was told: %v", err)
		}
	})
}

// TestBarsDoNotAddUp: several connections that are closed keep an address or a user out
// for as long as one.
func TestBarsDoNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, func(*limit.Config) {})
		a := netip.MustParseAddr("203.0.113.7")
		for range 2000 {
			l.Bar("", a)
			l.Bar("ann", a)
		}
		for _, err := range []error{l.Handshake(t.Context(), a, false), l.AddUser("ann")} {
			if e := refusal(t, err, limit.ReasonBarred); e.RetryAfter < 9*time.Second || e.RetryAfter > 13*time.Second {
				t.Errorf("barred for %v, want 10 s", e.RetryAfter)
			}
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // the bubble's clock
		l.Bar("", a)
		time.Sleep(6 * time.Second) //nolint:forbidigo // the bubble's clock
		_ = refusal(t, l.Handshake(t.Context(), a, false), limit.ReasonBarred)
		if err := l.AddUser("ann"); err != nil {
			t.Errorf("after 11 s: %v", err)
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // the bubble's clock
		if err := l.Handshake(t.Context(), a, false); err != nil {
			t.Errorf("10 s after the last: %v", err)
		}
	})
}
