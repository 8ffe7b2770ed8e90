package rivulet

import (
	"context"
	"sync"
)

// callsPerTurn bounds how long one subscription's callbacks hold up another's.
const callsPerTurn = 32

// dispatcher runs the callbacks of a client's subscriptions, in one goroutine.
type dispatcher struct {
	wake chan struct{} // size 1: waiting is not empty

	mu      sync.Mutex // guards the following
	waiting []*Subscription
}

// add notes that s has something for its callbacks. It never blocks.
func (d *dispatcher) add(s *Subscription) {
	d.mu.Lock()
	if !s.listed {
		s.listed = true
		d.waiting = append(d.waiting, s)
	}
	d.mu.Unlock()
	notify(d.wake)
}

func (d *dispatcher) next() *Subscription {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		return nil
	}
	s := d.waiting[0]
	d.waiting[0] = nil
	d.waiting = d.waiting[1:]
	s.listed = false
	return s
}

// run calls until ctx ends.
func (d *dispatcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		s := d.next()
		if s == nil {
			select {
			case <-d.wake:
			case <-ctx.Done():
			}
			continue
		}
		d.call(ctx, s)
	}
}

func (d *dispatcher) call(ctx context.Context, s *Subscription) {
	for range callsPerTurn {
		if ctx.Err() != nil {
			return
		}
		u, ok := s.take()
		if !ok {
			return
		}
		switch {
		case u.Kind != KindMessage:
			if s.opts.OnEvent != nil {
				s.opts.OnEvent(u)
			}
		case s.opts.OnMessage != nil:
			s.opts.OnMessage(u.Message)
		}
	}
	d.add(s)
}
