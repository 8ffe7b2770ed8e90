package api

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// heavyBody is the size of a body from which on a request keeps a processor busy for so
// long that others would notice.
const heavyBody = 32 << 10

// heavy has requests that take much processor time wait for each other, so that half of
// the processors are free for all the others whatever comes. A caller has one of them at
// work or in the queue at a time: who sends many waits behind itself, and no longer than
// leaves time for the work.
type heavy struct {
	wait  time.Duration // at most, for both turns
	slots chan struct{} // one for each at work; who waits is served in order

	mu      sync.Mutex // guards the following
	callers map[string]*heavyCaller
}

// heavyCaller is somebody with a heavy request.
type heavyCaller struct {
	turn chan struct{} // size 1
	uses int           // requests that wait or are at work; guarded by heavy.mu
}

// newHeavy is for requests whose work may take timeout, the wait for their turn included.
func newHeavy(timeout time.Duration) *heavy {
	return &heavy{wait: timeout / 3, slots: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)), callers: make(map[string]*heavyCaller)}
}

// enter waits for the caller's turn; end must follow unless there is an error, which
// wraps fanout.ErrTooBusy.
func (h *heavy) enter(ctx context.Context, caller string) error {
	ctx, cancel := context.WithTimeout(ctx, h.wait)
	defer cancel()
	h.mu.Lock()
	c := h.callers[caller]
	if c == nil {
		c = &heavyCaller{turn: make(chan struct{}, 1)}
		h.callers[caller] = c
	}
	c.uses++
	h.mu.Unlock()
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		h.drop(caller, c)
		return fmt.Errorf("api: wait for a turn: %w", fanout.ErrTooBusy)
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-c.turn
		h.drop(caller, c)
		return fmt.Errorf("api: wait for a turn: %w", fanout.ErrTooBusy)
	}
}

// rest gives the processor back, and leaves the caller its turn.
func (h *heavy) rest() { <-h.slots }

// end gives the caller's turn back.
func (h *heavy) end(caller string) {
	h.mu.Lock()
	c := h.callers[caller]
	h.mu.Unlock()
	<-c.turn
	h.drop(caller, c)
}

func (h *heavy) drop(caller string, c *heavyCaller) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.uses--; c.uses == 0 {
		delete(h.callers, caller)
	}
}

// served is rt.serve, in turn where the request's body is large.
func (a *api) served(ctx context.Context, rt route, x *exchange) error {
	if len(x.body) < heavyBody {
		return rt.serve(ctx, x)
	}
	caller := x.caller()
	if err := a.heavy.enter(ctx, caller); err != nil {
		return err
	}
	x.heavy = a.heavy
	defer a.heavy.end(caller)
	defer x.lighten()
	return rt.serve(ctx, x)
}

// lighten lets others have the processor: when the body is read, and what follows is to
// wait for a hook or for the log, or to write to a client, who may be slow. Once is enough.
func (x *exchange) lighten() {
	if x.heavy != nil {
		x.heavy.rest()
		x.heavy = nil
	}
}
