package limit

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// visitsMore is how many connections that are no client's, or not yet, an address may have
// beside as many as it may have clients: each begins as one of these, and a poll stays one.
const visitsMore = 256

// AddVisit counts a connection of addr that is no client's, which RemoveVisit takes back,
// or reports false: it has as many as limits.connections_per_ip, and 256 more.
func (l *Limiter) AddVisit(addr netip.Addr) bool {
	if l == nil || l.cfg.ConnectionsPerIP == 0 {
		return true
	}
	p, ok := l.caller(addr)
	return !ok || l.visits.Add(p, l.cfg.ConnectionsPerIP+visitsMore)
}

// RemoveVisit takes back an AddVisit that returned true.
func (l *Limiter) RemoveVisit(addr netip.Addr) {
	if l == nil || l.cfg.ConnectionsPerIP == 0 {
		return
	}
	if p, ok := l.caller(addr); ok {
		l.visits.Remove(p)
	}
}

// MayTry says whether a token from addr is worth looking at, or returns an *Error: the
// address had too many refused, as many a second as limits.handshakes_per_ip.
func (l *Limiter) MayTry(ctx context.Context, addr netip.Addr) error {
	if l == nil || l.cfg.HandshakesPerIP.IsZero() {
		return nil
	}
	p, ok := l.caller(addr)
	if !ok {
		return nil
	}
	rate := l.cfg.HandshakesPerIP
	wait := l.failures.Debt(p).Nanoseconds() - rate.cost(max(rate.Burst, 1)-1)
	if wait <= 0 {
		return nil
	}
	l.linger(ctx)
	return l.refuse(Error{
		Reason: ReasonFailures, RetryAfter: spread(max(time.Duration(wait), leastRetry)),
		Problem: fmt.Sprintf("too many tokens of this address are refused; it may send %d such a second (limits.handshakes_per_ip)", rate.PerSecond),
	})
}

// Tried counts a token from addr that was refused.
func (l *Limiter) Tried(addr netip.Addr) {
	if l == nil || l.cfg.HandshakesPerIP.IsZero() {
		return
	}
	if p, ok := l.caller(addr); ok {
		l.failures.Charge(p, l.cfg.HandshakesPerIP, 1)
	}
}
