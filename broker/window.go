package broker

import (
	"container/list"
	"context"
	"slices"
	"sync"
)

// window bounds the publishes in flight. Where it is full, the namespaces that wait take
// turns, and none has more than its share of it: a flood in one waits behind itself, and
// a single publish in another for one place, not for all that came before it.
type window struct {
	// Static after newWindow.
	size  int
	share int // of one namespace

	mu    sync.Mutex // guards the following
	used  int
	lanes map[string]*lane // by namespace; they are as many as there are
	turn  []*lane          // those with somebody waiting, the next first
	idle  chan struct{}    // closed when nothing is in flight; nil until somebody waits for that
}

// lane is one namespace's part of the window.
type lane struct {
	used    int
	waiting list.List // of chan struct{}, closed when there is a place
}

// newWindow returns a window of size publishes, of which one namespace may have share.
func newWindow(size, share int) *window {
	return &window{size: size, share: max(min(size, share), 1), lanes: make(map[string]*lane)}
}

// embeddedShare keeps the embedded server busy; more would only wait in it, and others
// behind that.
const embeddedShare = 64

// share is how much of the window one namespace may have: half, but where the server is
// near, and does not gain by gathering what it syncs.
func (c Config) share() int {
	if c.NATSURL == "" && c.Sync == SyncInterval {
		return embeddedShare
	}
	return c.InFlight / 2
}

// acquire waits for a place for the namespace until ctx ends.
func (w *window) acquire(ctx context.Context, namespace string) error {
	w.mu.Lock()
	l := w.lanes[namespace]
	if l == nil {
		l = &lane{}
		w.lanes[namespace] = l
	}
	if w.used < w.size && l.used < w.share && l.waiting.Len() == 0 {
		w.used++
		l.used++
		w.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	place := l.waiting.PushBack(ready)
	if l.waiting.Len() == 1 {
		w.turn = append(w.turn, l)
	}
	w.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	w.mu.Lock()
	select {
	case <-ready: // meanwhile; it goes to the next
		w.mu.Unlock()
		w.release(namespace)
	default:
		l.waiting.Remove(place)
		if l.waiting.Len() == 0 { // or a caller that gives up at once would have turn after turn
			w.turn = slices.DeleteFunc(w.turn, func(o *lane) bool { return o == l })
		}
		w.settleLocked()
		w.mu.Unlock()
	}
	return context.Cause(ctx)
}

// tryAcquire is acquire without a wait.
func (w *window) tryAcquire(namespace string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lanes[namespace]
	if l == nil {
		l = &lane{}
		w.lanes[namespace] = l
	}
	if w.used >= w.size || l.used >= w.share || l.waiting.Len() > 0 {
		return false
	}
	w.used++
	l.used++
	return true
}

// release gives a place back.
func (w *window) release(namespace string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used--
	w.lanes[namespace].used--
	w.settleLocked()
}

// settleLocked gives the places there are to those who wait, in turns.
func (w *window) settleLocked() {
	for passed := 0; passed < len(w.turn) && w.used < w.size; {
		l := w.turn[0]
		copy(w.turn, w.turn[1:])
		w.turn = w.turn[:len(w.turn)-1]
		if l.waiting.Len() == 0 {
			continue
		}
		if l.used >= w.share {
			passed++
		} else {
			passed = 0
			w.used++
			l.used++
			ready, _ := l.waiting.Remove(l.waiting.Front()).(chan struct{})
			close(ready)
		}
		if l.waiting.Len() > 0 {
			w.turn = append(w.turn, l)
		}
	}
	if w.used == 0 && len(w.turn) == 0 && w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
}

// drained waits until nothing is in flight and nobody waits, or ctx ends. Nobody may
// acquire any more.
func (w *window) drained(ctx context.Context) error {
	w.mu.Lock()
	if w.used == 0 && len(w.turn) == 0 {
		w.mu.Unlock()
		return nil
	}
	if w.idle == nil {
		w.idle = make(chan struct{})
	}
	idle := w.idle
	w.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
