package session

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// drainPace is the least time between two disconnects of a drain that has time:
// a few connections go at once, a crowd takes Config.DrainWindow.
const drainPace = 5 * time.Millisecond

// returnPace is the time per connection over which clients of a drain come back:
// a hundred a second, and one alone at once.
const returnPace = 10 * time.Millisecond

// returnWindow is the time in which n clients come back.
func (r *Registry) returnWindow(n int) time.Duration {
	return min(r.cfg.DrainWindow, time.Duration(n)*returnPace)
}

// drainEvent sends a client elsewhere; it comes back within the window.
func drainEvent(window time.Duration) protocol.DisconnectEvent {
	return protocol.DisconnectEvent{
		Code: protocol.CloseDraining, Reason: protocol.CloseDraining.Reason(), Reconnect: true,
		RetryAfterMS: 1 + rand.Int64N(max(1, window.Milliseconds())),
	}
}

// Drain ends the registry: it admits nobody any more, disconnects every
// connection, spread over Config.DrainWindow but at most half of what ctx has
// left, and waits for their end. When ctx ends first, it cuts what is left, and
// returns an error. When it returns, the registry runs nothing any more. Further
// calls wait for the first one's work.
func (r *Registry) Drain(ctx context.Context) error {
	r.mu.Lock()
	if first := !r.draining; first {
		r.draining = true
		if r.count == 0 {
			close(r.empty)
		}
	}
	r.mu.Unlock()
	err := r.disconnectAll(ctx)
	if err == nil {
		select {
		case <-r.empty:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	r.mu.Lock()
	cancel := r.cancel
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if err != nil {
		r.abortAll()
		err = errDrainCut
	}
	<-r.empty
	r.sockets.Close()
	r.wg.Wait()
	if cancel != nil && r.durables != nil {
		work, stop := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
		defer stop()
		r.durables.stop(work)
	}
	return err
}

// Finish ends, now and from now on, the connections that a request of net/http waits for:
// polls, and event streams over HTTP/2. A server that shuts down waits for its requests
// before anybody drains. They are spread like those of a drain, over a quarter of what
// ctx has left at most; nobody waits for their end.
func (r *Registry) Finish(ctx context.Context) error {
	r.mu.Lock()
	r.finishing = true
	all := slices.Collect(maps.Keys(r.held))
	r.mu.Unlock()
	return r.disconnect(ctx, all, 4)
}

// hold notes that a request waits for m; true: no request may wait any more.
func (r *Registry) hold(m Member) (finishing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[m] = struct{}{}
	return r.finishing
}

func (r *Registry) letGo(m Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.held, m)
}

// abortAll cuts every connection.
func (r *Registry) abortAll() {
	for _, m := range r.members() {
		m.Abort()
	}
}

func (r *Registry) members() []Member {
	var all []Member
	for i := range r.shards {
		all = r.shards[i].list(all)
	}
	return all
}

func (r *Registry) disconnectAll(ctx context.Context) error { return r.disconnect(ctx, r.members(), 2) }

// disconnect takes one part in so many of the time that ctx has left, or less.
func (r *Registry) disconnect(ctx context.Context, all []Member, parts int) error {
	window := min(r.cfg.DrainWindow, time.Duration(len(all))*drainPace)
	if deadline, ok := ctx.Deadline(); ok {
		window = min(window, time.Until(deadline)/time.Duration(parts))
	}
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, m := range all {
		at := window * time.Duration(i) / time.Duration(len(all))
		if ahead := at - time.Since(begin); ahead > time.Millisecond {
			timer.Reset(ahead)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		m.Disconnect(drainEvent(r.returnWindow(len(all))))
	}
	return nil
}
