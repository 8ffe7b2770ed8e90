package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/rivulet-rt/rivulet/fanout"
)

var (
	// errSync: what was written may not be on the disk, and never will be known to.
	errSync = errors.New("broker: the disk failed to sync; check it, and restart the node")
	// errCommitEnded: the broker was closed before the sync.
	errCommitEnded = errors.New("broker: closed before the sync")
)

// committer puts one sync between what the server wrote and the answers that
// promise it. The embedded server acknowledges a message when the kernel has it;
// whatever was acknowledged while one sync was under way, in whichever stream, is
// gathered and shares the next. Nothing waits for a timer: with one publisher
// every message has a sync of its own, with many the syncs stay as many and the
// groups grow.
type committer struct {
	sync func() error // everything that was written before it is called
	log  *slog.Logger
	met  *metrics
	doom func()        // told once, before anybody is, that a sync failed
	wake chan struct{} // size 1: somebody waits

	// broken is set when a sync failed, for good: the kernel reports a failed write
	// once and forgets the data, so a later sync that succeeds proves nothing.
	broken atomic.Bool

	mu      sync.Mutex // guards the following
	waiting []commit   // bounded by the publishes in flight, and the few who change records
	ended   bool
}

// commit is called once, with nil when everything written before add is durable.
type commit func(err error)

func newCommitter(sync func() error, log *slog.Logger, met *metrics, doom func()) *committer {
	return &committer{sync: sync, log: log, met: met, doom: doom, wake: make(chan struct{}, 1)}
}

// add has c called after the next sync to begin. It does not block.
func (g *committer) add(c commit) {
	g.mu.Lock()
	ended := g.ended
	if !ended {
		g.waiting = append(g.waiting, c)
	}
	g.mu.Unlock()
	if ended {
		c(errCommitEnded)
		return
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run syncs until ctx ends; it then answers who is left, and whoever comes later.
func (g *committer) run(ctx context.Context) {
	var group []commit
	for {
		select {
		case <-ctx.Done():
			g.end()
			return
		case <-g.wake:
		}
		group = g.take(group)
		if len(group) > 0 {
			g.commit(group)
		}
	}
}

// take swaps the list of those who wait for an empty one.
func (g *committer) take(spare []commit) []commit {
	clear(spare)
	g.mu.Lock()
	defer g.mu.Unlock()
	group := g.waiting
	g.waiting = spare[:0]
	return group
}

func (g *committer) commit(group []commit) {
	err := g.refusal()
	if err == nil {
		if cause := g.sync(); cause != nil {
			g.broken.Store(true)
			g.log.Error("the disk failed to sync, publishes are refused", slog.Any("err", cause))
			g.doom()
			err = fmt.Errorf("%w: %w", errSync, cause)
		}
		g.met.syncs.Inc()
	}
	for _, c := range group {
		c(err)
	}
}

func (g *committer) end() {
	g.mu.Lock()
	g.ended = true
	left := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	for _, c := range left {
		c(errCommitEnded)
	}
}

// refusal is the error of what a broken disk cannot keep; nil also without a
// committer.
func (g *committer) refusal() error {
	if g == nil || !g.broken.Load() {
		return nil
	}
	return fmt.Errorf("%w: %w", fanout.ErrUnavailable, errSync)
}

// barrier returns when everything that was written before is durable, or cannot
// become so. Without a committer the server, or nobody, sees to that.
func (g *committer) barrier(ctx context.Context) error {
	if g == nil {
		return nil
	}
	done := make(chan error, 1)
	g.add(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
