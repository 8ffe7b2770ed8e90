package fanout

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff waits longer after each failure, with full jitter, so that a thousand
// repairs do not ask a broker that has just come back at the same moment.
type backoff struct {
	least, most, next time.Duration
}

func (b *backoff) reset() { b.next = b.least }

// delay returns the next wait.
func (b *backoff) delay() time.Duration {
	d := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, b.most)
	return d
}

// sleep waits for the next delay or until ctx ends.
func (b *backoff) sleep(ctx context.Context) {
	t := time.NewTimer(b.delay())
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
