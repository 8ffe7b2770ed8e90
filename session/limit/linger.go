package limit

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	// lingerFor is how long the answer to a caller over a limit waits, on average. One
	// who asks again at once is slowed down by it, and costs the node little. Each waits
	// for between half of it and half more: the many connections of one caller would
	// otherwise come back at the same moment, for all that its bucket has gained.
	lingerFor = 250 * time.Millisecond
	// lingerMost answers wait at a time; more are given at once.
	lingerMost = 1024
)

// linger holds the answer to a caller over a limit back for a moment, or until ctx ends.
func (l *Limiter) linger(ctx context.Context) {
	select {
	case l.lingering <- struct{}{}:
	default:
		return
	}
	defer func() { <-l.lingering }()
	timer := time.NewTimer(lingerFor/2 + rand.N(lingerFor))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Who was closed for sending far too much is kept out for barFor: without that, a new
// connection would come with a new burst.
// Several that are closed at once keep nobody out for longer.
const barFor = 10 * time.Second

// Bar keeps a caller out for a while that was closed because it did not slow down: the
// user, or where it has not said who it is the address.
func (l *Limiter) Bar(user string, addr netip.Addr) {
	if l == nil {
		return
	}
	if user != "" {
		l.barredUsers.Until(user, barFor)
		return
	}
	if p, ok := l.caller(addr); ok {
		l.barred.Until(p, barFor)
	}
}

func (l *Limiter) refuseBarred(wait time.Duration) error {
	return l.refuse(Error{
		Reason: ReasonBarred, RetryAfter: spread(max(wait, leastRetry)),
		Problem: "a connection was closed because it sent too many commands (4204); come back later, and slower",
	})
}
