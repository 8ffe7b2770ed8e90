package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rivulet-rt/rivulet/fanout"
)

const (
	// savesAtOnce bounds the writes of durable sessions under way.
	savesAtOnce = 32
	saveTimeout = 5 * time.Second
)

// durables are the durable sessions that connections of this node have. One goroutine
// writes what has moved, every Config.FlushInterval, and releases sessions whose
// connection has ended.
type durables struct {
	// Static after newDurables.
	store DurableStore
	every time.Duration
	log   *slog.Logger
	met   *durableMetrics

	wake chan struct{} // size 1: there is something to release
	done chan struct{} // closed when run has ended

	mu       sync.Mutex // guards the following
	byClient map[string]*durable
	dirty    []*durable
	ended    []*durable
}

func newDurables(store DurableStore, every time.Duration, log *slog.Logger, met *durableMetrics) *durables {
	return &durables{
		store: store, every: every, log: log, met: met,
		wake: make(chan struct{}, 1), done: make(chan struct{}), byClient: map[string]*durable{},
	}
}

// take gives a session to a connection. Others can ask for it from before it is taken: they
// may learn of the new owner sooner than this node does.
func (a *durables) take(ctx context.Context, s *Session, id fanout.SessionID) (d *durable, resumed bool, err error) {
	d = newDurable(a, s, s.ID(), id)
	a.mu.Lock()
	a.byClient[d.client] = d
	n := len(a.byClient)
	a.mu.Unlock()
	a.met.sessions.Set(float64(n))
	rec, resumed, err := a.store.Take(ctx, id, d.client)
	if d.taken(rec, err); err != nil {
		return nil, false, err
	}
	return d, resumed, nil
}

func (a *durables) remove(d *durable) {
	a.mu.Lock()
	if a.byClient[d.client] == d {
		delete(a.byClient, d.client)
	}
	n := len(a.byClient)
	a.mu.Unlock()
	a.met.sessions.Set(float64(n))
}

func (a *durables) enqueue(d *durable) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dirty = append(a.dirty, d)
}

func (a *durables) release(d *durable) {
	a.mu.Lock()
	a.ended = append(a.ended, d)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// yield gives a session up that another connection, or an operator, wants.
func (a *durables) yield(ctx context.Context, client string, why fanout.YieldReason) {
	a.mu.Lock()
	d := a.byClient[client]
	a.mu.Unlock()
	if d == nil {
		return
	}
	d.session.Disconnect(yieldEvent(why))
	a.met.yields.WithLabelValues(string(why)).Inc()
	if err := d.release(ctx); err != nil {
		a.log.Debug("durable session was not written when it was given up", slog.Any("session", d.session), slog.Any("err", err))
		d.giveUp()
	}
}

// giveUp ends the session here without a word to the log.
func (d *durable) giveUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	d.all.remove(d)
}

// run writes until ctx ends.
func (a *durables) run(ctx context.Context) {
	defer close(a.done)
	tick := time.NewTicker(a.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
			a.write(ctx, nil, a.takeEnded())
		case now := <-tick.C:
			a.write(ctx, a.due(now), a.takeEnded())
		}
	}
}

func (a *durables) takeEnded() []*durable {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.ended
	a.ended = nil
	return list
}

// due are the sessions that have moved, and those that must say that they are there.
func (a *durables) due(now time.Time) []*durable {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.dirty
	a.dirty = nil
	for _, d := range a.byClient {
		if d.touch(now) {
			list = append(list, d)
		}
	}
	return list
}

// write saves one list and releases the other. What fails is tried again at the next tick,
// or in stop.
func (a *durables) write(ctx context.Context, due, ended []*durable) {
	if err := a.writeAll(ctx, due, ended); err != nil && ctx.Err() == nil {
		a.log.Warn("durable sessions could not be written, will be tried again", slog.Any("err", err))
	}
}

// writeAll returns the first error.
func (a *durables) writeAll(ctx context.Context, due, ended []*durable) error {
	var group errgroup.Group
	group.SetLimit(savesAtOnce)
	for _, d := range due {
		group.Go(func() error {
			work, cancel := context.WithTimeout(ctx, saveTimeout)
			defer cancel()
			return d.saveDue(work)
		})
	}
	for _, d := range ended {
		group.Go(func() error {
			work, cancel := context.WithTimeout(ctx, saveTimeout)
			defer cancel()
			err := d.release(work)
			if err != nil {
				a.mu.Lock()
				a.ended = append(a.ended, d)
				a.mu.Unlock()
			}
			return err
		})
	}
	return group.Wait()
}

// saveDue writes what has moved, or that the session is there, unless that was done
// meanwhile.
func (d *durable) saveDue(ctx context.Context) error {
	d.mu.Lock()
	idle := d.over || !d.queued && !d.touch(time.Now())
	d.mu.Unlock()
	if idle {
		return nil
	}
	err := d.save(ctx, fanout.SessionChange{})
	if errors.Is(err, fanout.ErrSuperseded) {
		return nil // its connection is told
	}
	return err
}

// stop writes and releases everything, as far as ctx lets it. run has ended.
func (a *durables) stop(ctx context.Context) {
	<-a.done
	a.mu.Lock()
	list := make([]*durable, 0, len(a.byClient))
	for _, d := range a.byClient {
		list = append(list, d)
	}
	a.ended = nil // they are among the list
	a.mu.Unlock()
	err := a.writeAll(ctx, nil, list)
	if err == nil {
		return
	}
	a.mu.Lock()
	left := len(a.ended)
	a.mu.Unlock()
	a.log.Warn("durable sessions were not written before the end: what they acknowledged last is delivered again",
		slog.Int("sessions", left), slog.Any("err", err))
}
