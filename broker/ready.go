package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// mostSilent is how many publishes in a row may stay without an answer.
const mostSilent = 3

// readyFor is how long an answer of Ready is good for the next who asks.
const readyFor = time.Second

// readiness remembers the last look.
type readiness struct {
	mu   sync.Mutex // guards the following
	at   time.Time
	last error
}

// Ready reports whether publishes are accepted now: the connections stand, the
// disk has room, and every stream of every namespace has a leader. The error
// wraps ErrNotReady and says what is missing. A look is good for one second;
// callers in between get its result.
func (b *Broker) Ready(ctx context.Context) error {
	r := &b.ready
	r.mu.Lock()
	if !r.at.IsZero() && time.Since(r.at) < readyFor {
		defer r.mu.Unlock()
		return r.last
	}
	r.mu.Unlock()
	err := b.look(ctx)
	if ctx.Err() != nil {
		return err // says nothing about the log
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.last = time.Now(), err
	return err
}

func (b *Broker) look(ctx context.Context) error {
	if b.pub.closed.Load() {
		return fmt.Errorf("%w: closing", ErrNotReady)
	}
	for _, l := range b.links {
		if !l.nc.IsConnected() {
			return fmt.Errorf("%w: no nats connection for %s", ErrNotReady, l.name)
		}
	}
	if err := b.disk.refusal(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	var account struct {
		Error *apiError `json:"error"`
	}
	if err := b.api(ctx, "INFO", struct{}{}, &account); err != nil {
		return fmt.Errorf("%w: jetstream does not answer: %w", ErrNotReady, err)
	}
	if account.Error != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, account.Error)
	}
	return b.lookAtStreams(ctx)
}

func (b *Broker) lookAtStreams(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, ns := range b.reg.all() {
		for _, s := range ns.streams {
			group.Go(func() error {
				info, err := b.info(ctx, s, "")
				if err != nil {
					return fmt.Errorf("%w: %w", ErrNotReady, err)
				}
				if info.Cluster.Leader == "" {
					return fmt.Errorf("%w: stream %s has no leader", ErrNotReady, s.name)
				}
				if n := s.silent.Load(); n >= mostSilent {
					return fmt.Errorf("%w: stream %s did not acknowledge the last %d publishes; if its disk was full, restart the server", ErrNotReady, s.name, n)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// topologyStream is one that always exists.
const topologyStream = "KV_RIVULET_TOPOLOGY"

// detectExact finds out whether there is one server only.
func (b *Broker) detectExact(ctx context.Context) error {
	info := &streamInfo{}
	if err := b.api(ctx, "STREAM.INFO."+topologyStream, infoRequest{}, info); err != nil {
		return unavailable("look at the topology", err)
	}
	if info.Error != nil {
		return unavailable("look at the topology", info.Error)
	}
	b.noteExact(info)
	return nil
}

func (b *Broker) noteExact(info *streamInfo) {
	b.exact.Store(info.Cluster.Name == "" && b.live.nc.ConnectedClusterName() == "" &&
		info.Cluster.Leader == b.live.nc.ConnectedServerName())
}
