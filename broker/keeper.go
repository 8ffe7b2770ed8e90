package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// keepEvery is how often what the node believes of its streams is compared with
	// what their leaders say; changes are normally told at once.
	keepEvery = 30 * time.Second
	// keepRetry is the pause after mending failed.
	keepRetry = 500 * time.Millisecond
	keepWork  = 20 * time.Second
	// diskEvery is how often free space is looked at.
	diskEvery = 250 * time.Millisecond
	// leastFree stays free on the disk: JetStream does not survive a full one.
	leastFree = 64 << 20
)

// keeper mends what changed under the node, in one goroutine.
type keeper struct {
	b    *Broker
	wake chan struct{} // size 1: there is something to do

	mu      sync.Mutex // guards the following
	streams map[*stream]struct{}
	back    bool // the live feed's connection stands again
}

func newKeeper(b *Broker) *keeper {
	return &keeper{b: b, wake: make(chan struct{}, 1), streams: map[*stream]struct{}{}}
}

// mend has the keeper look at a stream. It may be called from any goroutine.
func (k *keeper) mend(s *stream) {
	k.mu.Lock()
	k.streams[s] = struct{}{}
	k.mu.Unlock()
	k.poke()
}

// liveBack tells that the live feed's connection stands again.
func (k *keeper) liveBack() {
	k.mu.Lock()
	k.back = true
	k.mu.Unlock()
	k.poke()
}

func (k *keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) run(ctx context.Context) {
	all := time.NewTicker(keepEvery)
	defer all.Stop()
	disk := time.NewTicker(diskEvery)
	defer disk.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-disk.C:
			k.b.disk.look()
			continue
		case <-all.C:
			k.markAll()
		case <-k.wake:
		}
		if err := k.work(ctx); err != nil && ctx.Err() == nil {
			k.b.log.Warn("mending failed, will be tried again", slog.Any("err", err))
			_ = pause(ctx, keepRetry)
			k.poke()
		}
	}
}

func (k *keeper) markAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, ns := range k.b.reg.all() {
		for _, s := range ns.streams {
			k.streams[s] = struct{}{}
		}
	}
}

// work does everything that is due; what fails stays due.
func (k *keeper) work(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keepWork)
	defer cancel()
	k.mu.Lock()
	back, streams := k.back, k.streams
	k.back, k.streams = false, map[*stream]struct{}{}
	k.mu.Unlock()
	if back {
		if err := k.resume(ctx); err != nil {
			k.due(streams, true)
			return err
		}
	}
	for s := range streams {
		if err := k.check(ctx, s); err != nil {
			k.due(streams, false)
			return err
		}
		delete(streams, s)
	}
	return nil
}

func (k *keeper) due(streams map[*stream]struct{}, back bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for s := range streams {
		k.streams[s] = struct{}{}
	}
	k.back = k.back || back
}

// resume waits until the server has the live subscriptions again, and only then
// has the hub look for what was missed: what is stored later is fed.
func (k *keeper) resume(ctx context.Context) error {
	flush, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := k.b.live.nc.FlushWithContext(flush); err != nil {
		return fmt.Errorf("resume the live feed: %w", err)
	}
	if k.b.feed.started.Load() {
		k.b.feed.suspect(everything, causeReconnect)
	}
	k.markAll()
	k.poke()
	return nil
}

// check compares a stream with what the node believes of it, and creates it
// again if it is gone: an empty log that says so is better than none.
func (k *keeper) check(ctx context.Context, s *stream) error {
	before := s.tag()
	seen := s.recent.reach()
	info, err := k.b.refresh(ctx, s)
	if err != nil && !gone(err) {
		return err
	}
	if err != nil {
		if err := k.restore(ctx, s); err != nil {
			return err
		}
	} else {
		k.b.noteExact(info)
		if err := k.prove(ctx, s, before, seen, info.State.Last); err != nil {
			return err
		}
	}
	if s.tag() != before {
		k.b.log.Warn("stream has a new epoch", slog.String("stream", s.name))
		if k.b.feed.started.Load() {
			k.b.feed.suspect(s.id(), causeStream)
		}
	}
	return nil
}

// prove raises the epoch of a stream that is not what it was when this node saw
// its end: somebody put an older copy in its place, and nobody need have been
// subscribed to notice.
func (k *keeper) prove(ctx context.Context, s *stream, tag fanout.StreamTag, had seen, last uint64) error {
	if s.tag() != tag {
		return nil // what was seen is of an earlier epoch
	}
	changed := last < had.last
	if !changed && had.at != 0 {
		var err error
		if changed, err = k.contradicts(ctx, s, had); err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	return k.b.Raise(ctx, s.id(), tag)
}

// contradicts reports whether the log has something else where a message was seen,
// or, where that was dropped since, something newer below it.
func (k *keeper) contradicts(ctx context.Context, s *stream, had seen) (bool, error) {
	m, found, err := k.b.at(ctx, s, had.at)
	if err != nil || found {
		return found && m.time != had.time, err
	}
	m, found, err = k.b.get(ctx, s, getRequest{Start: timeOf(had.time), Next: ">"})
	return found && m.seq < had.at && m.time > had.time, err
}

// gone reports whether what was asked for does not exist, rather than cannot be
// reached.
func gone(err error) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && (api.ErrCode == codeStreamNotFound || api.ErrCode == codeNoMessage) || errors.Is(err, migrations.ErrNoEpoch)
}

func (k *keeper) restore(ctx context.Context, s *stream) error {
	ns := k.b.reg.namespace(s.layout.Namespace)
	k.b.log.Error("stream is gone and is created again, empty", slog.String("stream", s.name))
	if _, err := migrations.Apply(ctx, k.b.js, k.b.applyOptions()); err != nil {
		return err
	}
	_, err := k.b.ensure(ctx, ns.spec)
	return err
}

// disk guards the embedded server's disk; nil with a remote server.
type disk struct {
	dir   string
	srv   *embedded
	log   *slog.Logger
	least atomic.Int64 // bytes that stay free
	met   *metrics
	low   atomic.Bool
}

// look takes note of the free space.
func (d *disk) look() {
	if d == nil {
		return
	}
	free, err := freeBytes(d.dir)
	if err != nil {
		return // as before
	}
	d.met.diskFree.Set(float64(free))
	d.met.reserved.Set(float64(d.srv.reserved()))
	low := free < d.least.Load()
	switch was := d.low.Swap(low); {
	case low && !was:
		d.log.Warn("the disk is nearly full: publishes are refused until there is more room", slog.Int64("free", free), slog.Int64("least", d.least.Load()))
	case was && !low:
		d.log.Info("the disk has room again: publishes are accepted", slog.Int64("free", free))
	}
}

// refusal is the error of a publish that the disk has no room for.
func (d *disk) refusal() error {
	if d == nil || !d.low.Load() {
		return nil
	}
	return fmt.Errorf("%w: less than %d bytes are free", fanout.ErrDiskFull, d.least.Load())
}
