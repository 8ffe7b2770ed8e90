package api

import (
	"net/http"
	"sync"
	"time"
)

// bodies are the bytes of all requests' bodies in memory, and how much of them each caller
// has. A body of at most firstChunk counts as nobody's: there are no more of these than
// connections.
type bodies struct {
	budget int64 // static

	mu     sync.Mutex // guards the following
	total  int64
	shares map[string]int64
}

func newBodies(budget int64) *bodies { return &bodies{budget: budget, shares: make(map[string]int64)} }

// grow has a request hold want bytes, or says why not. A caller's requests together hold no
// more than is left for all others, but one request always may: who is alone has half of
// the budget, and whoever comes to many finds some of it free.
func (b *bodies) grow(x *exchange, want int64) error {
	if want <= x.reserved {
		return nil
	}
	caller := x.sharer
	if want > firstChunk && caller == "" {
		caller = x.caller()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	free := b.budget - b.total - (want - x.reserved)
	if free < 0 {
		return &problem{
			status: http.StatusServiceUnavailable, retryAfter: time.Second,
			message: "too many bytes are being published at once; nothing was stored, send it again after Retry-After",
		}
	}
	if caller != "" {
		had := x.reserved
		if x.sharer == "" {
			had = 0
		}
		others := b.shares[caller] - had
		if others > 0 && others+want > free {
			return &problem{
				status: http.StatusTooManyRequests, retryAfter: time.Second,
				message: "too many bytes are being published at once by this caller; nothing was stored, send it again after Retry-After",
			}
		}
		b.shares[caller] += want - had
		x.sharer = caller
	}
	b.total += want - x.reserved
	x.reserved = want
	return nil
}

// release gives back what a request holds.
func (b *bodies) release(x *exchange) {
	if x.reserved == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total -= x.reserved
	if x.sharer == "" {
		return
	}
	if b.shares[x.sharer] -= x.reserved; b.shares[x.sharer] <= 0 {
		delete(b.shares, x.sharer)
	}
}

// held is how many bytes there are.
func (b *bodies) held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}
