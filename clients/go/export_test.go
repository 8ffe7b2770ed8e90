package rivulet

import (
	"context"
	"time"
)

// Buffered tells how much waits for the application.
func Buffered(s *Subscription) (updates, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.n, s.buffer.bytes
}

// WaitBlocked returns once the buffer of s is full.
func WaitBlocked(ctx context.Context, s *Subscription) {
	for ctx.Err() == nil {
		s.mu.Lock()
		full := s.buffer.full()
		s.mu.Unlock()
		if full {
			return
		}
		pause(ctx, time.Millisecond)
	}
}

// WaitFlushed returns once somebody waits in Flush.
func WaitFlushed(ctx context.Context, s *Subscription) {
	for ctx.Err() == nil {
		s.mu.Lock()
		waits := s.acks.moved != nil
		s.mu.Unlock()
		if waits {
			return
		}
		pause(ctx, time.Millisecond)
	}
}

// WaitIdle returns once s waits to be asked for again.
func WaitIdle(ctx context.Context, s *Subscription) {
	for ctx.Err() == nil {
		s.mu.Lock()
		idle := s.phase == phaseIdle
		s.mu.Unlock()
		if idle {
			return
		}
		pause(ctx, time.Millisecond)
	}
}

// WaitPaused returns once s is let go of.
func WaitPaused(ctx context.Context, s *Subscription) {
	for ctx.Err() == nil {
		s.mu.Lock()
		paused := s.phase == phasePaused
		s.mu.Unlock()
		if paused {
			return
		}
		pause(ctx, time.Millisecond)
	}
}

// WaitSubscriptions returns once c has so many.
func WaitSubscriptions(ctx context.Context, c *Client, n int) {
	for ctx.Err() == nil && c.Subscriptions() < n {
		pause(ctx, time.Millisecond)
	}
}

// Subscriptions counts those that have not been let go of.
func (c *Client) Subscriptions() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.subscriptionsLocked())
}
