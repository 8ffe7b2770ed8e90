package fanout

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
)

// HubConfig bounds the core.
type HubConfig struct {
	// Shards is how many goroutines write to clients; 0 means one per two processors.
	// A shard that serves a crowd does nothing but system calls: with one on every
	// processor nobody would be left to bring the next messages, which then come one by
	// one, too late to leave together. On 2 processors a burst to 5,000 clients is
	// delivered ten times as fast by one shard as by two.
	Shards int
	// ShardQueue bounds the live messages that wait for one shard; past it the
	// channel's cursors on that shard catch up from the ring or the log.
	ShardQueue int
	// SliceCursors is how many cursors of one channel a shard moves before it looks at
	// other channels, so that small channels need not wait behind a large one.
	SliceCursors int
	// RingMessages and RingBytes bound the replay ring of one channel, RingBudget the
	// bytes of all of them.
	RingMessages int
	RingBytes    int64
	RingBudget   int64
	// ViewMessages and ViewBytes bound what a channel keeps of the newest message of each
	// conflation key; it counts in RingBudget. ViewMessages also bounds how far back the
	// log is read for it.
	ViewMessages int
	ViewBytes    int64
	// ReadBatch is how many messages one read of the log asks for, 1 to 1000.
	ReadBatch int
	// ReadsPerStream bounds concurrent reads of one stream.
	ReadsPerStream int
	// KeepReads is how long a batch read from the log is kept for others.
	KeepReads time.Duration
	// Linger is how long a channel without subscribers is still followed, so that a
	// crowd that was cut finds its ring.
	Linger time.Duration
	// MaxIdle bounds the channels that linger.
	MaxIdle int
	// SweepInterval is the time between looks for a lost last message and for
	// positions that have grown old.
	SweepInterval time.Duration
	// FirstLook is how long after opening a channel's tail is read once more on an
	// inexact feed: interest takes that long to reach every server of a cluster.
	FirstLook time.Duration
	// RetryLeast and RetryMost bound the wait before a read that failed is tried again.
	RetryLeast time.Duration
	RetryMost  time.Duration
	// OpenTimeout bounds the wait for the log when a channel gets its first subscriber.
	OpenTimeout time.Duration
}

// DefaultHubConfig returns the defaults.
func DefaultHubConfig() HubConfig {
	return HubConfig{
		ShardQueue: 16384, SliceCursors: 512, RingMessages: 1024, RingBytes: 1 << 20, RingBudget: 128 << 20,
		ViewMessages: 10_000, ViewBytes: 16 << 20, ReadBatch: 256, ReadsPerStream: 2, KeepReads: time.Second,
		Linger: time.Minute, MaxIdle: 10_000, SweepInterval: 5 * time.Second, FirstLook: 250 * time.Millisecond,
		RetryLeast: 50 * time.Millisecond, RetryMost: 2 * time.Second, OpenTimeout: 10 * time.Second,
	}
}

// Validate reports the first value out of bounds, naming its key.
func (c HubConfig) Validate() error {
	for _, f := range []struct {
		key          string
		value, least int64
	}{
		{"shards", int64(c.Shards), 0},
		{"shard_queue", int64(c.ShardQueue), 1},
		{"slice_cursors", int64(c.SliceCursors), 1},
		{"ring_messages", int64(c.RingMessages), 0},
		{"ring_bytes", c.RingBytes, 0},
		{"ring_budget", c.RingBudget, 0},
		{"view_messages", int64(c.ViewMessages), 1},
		{"view_bytes", c.ViewBytes, 1},
		{"read_batch", int64(c.ReadBatch), 1},
		{"reads_per_stream", int64(c.ReadsPerStream), 1},
		{"keep_reads", int64(c.KeepReads), 0},
		{"linger", int64(c.Linger), 0},
		{"max_idle", int64(c.MaxIdle), 0},
		{"sweep_interval", int64(c.SweepInterval), int64(time.Millisecond)},
		{"first_look", int64(c.FirstLook), int64(time.Millisecond)},
		{"retry_least", int64(c.RetryLeast), int64(time.Millisecond)},
		{"retry_most", int64(c.RetryMost), int64(c.RetryLeast)},
		{"open_timeout", int64(c.OpenTimeout), int64(time.Millisecond)},
	} {
		if f.value < f.least {
			return fmt.Errorf("fanout: %s is %d, must be at least %d", f.key, f.value, f.least)
		}
	}
	if c.ReadBatch > MaxLast {
		return fmt.Errorf("fanout: read_batch is %d, must be at most %d", c.ReadBatch, MaxLast)
	}
	return nil
}

// Hub is the core of a node: it takes the live feed, follows the channels that
// have subscribers, and moves their cursors.
type Hub struct {
	// Static after NewHub.
	cfg     HubConfig
	backend Log
	feed    Feed
	epochs  Epochs
	exact   bool
	log     *slog.Logger
	metrics *metrics
	shards  []*shard
	reader  *reader
	ctx     context.Context //nolint:containedctx // the hub's own life, ended by Stop
	cancel  context.CancelCauseFunc
	budget  *atomic.Int64
	hurry   chan struct{}      // size 1: a source was opened whose position ages fast
	next    atomic.Uint64      // round robin of clients over shards
	opened  atomic.Uint64      // sources so far
	seeks   singleflight.Group // by source and seek
	views   atomic.Int64       // of all sources
	made    time.Time          // by the monotonic clock

	presence *Presence // nil unless StartPresence was called

	lifeMu sync.Mutex // guards the following
	ended  bool
	wg     sync.WaitGroup

	mu       sync.RWMutex // guards the following
	channels map[Channel]*liveSource
	patterns map[Channel]map[StreamID]*liveSource
	matching patternSet
}

// NewHub returns a hub that is running: its shards wait for work. cfg must be valid.
func NewHub(cfg HubConfig, l Log, feed Feed, epochs Epochs, logger *slog.Logger, reg prometheus.Registerer) *Hub {
	if cfg.Shards == 0 {
		cfg.Shards = max(1, runtime.GOMAXPROCS(0)/2)
	}
	ctx, cancel := context.WithCancelCause(context.Background()) //nolint:forbidigo // the root of the hub's life
	h := &Hub{
		cfg: cfg, backend: l, feed: feed, epochs: epochs, exact: feed.Exact(), log: logger,
		ctx: ctx, cancel: cancel, budget: new(atomic.Int64), hurry: make(chan struct{}, 1),
		channels: make(map[Channel]*liveSource), patterns: make(map[Channel]map[StreamID]*liveSource),
		made: time.Now(),
	}
	h.budget.Store(cfg.RingBudget)
	h.metrics = newMetrics(reg, func() float64 { return float64(cfg.RingBudget - h.budget.Load()) }, func() float64 { return float64(h.views.Load()) })
	h.reader = newReader(ctx, l, cfg, h.metrics, h.start, h.endOf)
	for range cfg.Shards {
		s := newShard(h, len(h.shards))
		h.shards = append(h.shards, s)
		h.start(s.run)
	}
	h.start(h.sweepLoop)
	h.start(h.freshenLoop)
	return h
}

// Stop ends all subscriptions without telling anyone, and waits for the hub's
// goroutines or for ctx. Clients should have been closed before.
func (h *Hub) Stop(ctx context.Context) error {
	h.lifeMu.Lock()
	h.ended = true
	h.lifeMu.Unlock()
	h.cancel(ErrClosed)
	for _, s := range h.shards {
		s.wake()
	}
	done := make(chan struct{})
	go func() { // ends with the WaitGroup; a Stop that gives up leaves it to that
		h.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("fanout: stop: %w", context.Cause(ctx))
	}
}

// start runs f in a goroutine that Stop waits for; after Stop it does nothing and
// returns false.
func (h *Hub) start(f func()) bool {
	h.lifeMu.Lock()
	defer h.lifeMu.Unlock()
	if !h.ended {
		h.wg.Go(f)
	}
	return !h.ended
}

func (h *Hub) backoff() *backoff {
	return &backoff{least: h.cfg.RetryLeast, most: h.cfg.RetryMost, next: h.cfg.RetryLeast}
}

// Dispatch takes one message of the live feed. Calls for one stream must come
// from one goroutine, in the feed's order; repetitions are harmless. It never
// blocks on a client.
func (h *Hub) Dispatch(m *Message) {
	h.metrics.dispatched.Inc()
	var room [8]*liveSource
	h.mu.RLock()
	to := room[:0]
	if s := h.channels[m.Channel]; s != nil {
		to = append(to, s)
	}
	if h.matching.size > 0 {
		h.matching.each(m.Channel, func(p Channel) {
			if s := h.patterns[p][m.Stream]; s != nil {
				to = append(to, s)
			}
		})
	}
	h.mu.RUnlock()
	for _, s := range to {
		s.offer(m)
	}
}

// Suspect says that messages of the stream, or of all streams if id is empty, may
// have been lost or the log changed: its sources prove themselves against the log
// before they hand over anything more. Call it from the goroutine that calls
// Dispatch, before the first message after the disturbance; messages received
// before the disturbance and not dispatched yet may be of a log that is gone and
// must be dropped: the log is read in their place.
func (h *Hub) Suspect(id StreamID) {
	for _, s := range h.sources() {
		if id == "" || s.key.Stream == id {
			s.suspect()
		}
	}
}

// sources returns all live sources.
func (h *Hub) sources() []*liveSource {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.allLocked()
}

func (h *Hub) allLocked() []*liveSource {
	all := make([]*liveSource, 0, len(h.channels)+len(h.patterns))
	for _, s := range h.channels {
		all = append(all, s)
	}
	for _, lanes := range h.patterns {
		for _, s := range lanes {
			all = append(all, s)
		}
	}
	return all
}

// endOf is what the live feed has handed over of a source; zero if it is not followed.
func (h *Hub) endOf(src Source) Position {
	h.mu.RLock()
	s := h.lookupLocked(src)
	h.mu.RUnlock()
	if s == nil {
		return Position{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (h *Hub) lookupLocked(src Source) *liveSource {
	if src.Filter.IsPattern() {
		return h.patterns[src.Filter][src.Stream]
	}
	return h.channels[src.Filter]
}

// readAt reads after an offset of which no position is known, and tells the
// position: the time stored there, or one between its neighbours.
func (h *Hub) readAt(ctx context.Context, src Source, after uint64, limit int) (Batch, Position, error) {
	q := h.queryAt(src, after, Position{})
	q.Limit = min(q.Limit, limit)
	b, err := h.reader.read(ctx, q)
	if err != nil {
		return b, Position{}, err
	}
	if p, ok := locate(after, b); ok {
		return b, p, nil
	}
	t, err := h.backend.Tail(ctx, src)
	if err != nil {
		return b, Position{}, err
	}
	if t.Last.Offset > after {
		return b, Position{}, errMoved
	}
	return b, t.Fresh(), nil
}

// queryAt asks for the messages after an offset; the zero time matches no stored
// message, so the evidence tells what is there.
func (h *Hub) queryAt(src Source, after uint64, known Position) Query {
	if known.IsZero() {
		known = Position{Stream: anyTag(), Offset: after}
	}
	return Query{Source: src, After: after, Limit: h.cfg.ReadBatch, Prove: known}
}

// Nowhere is a position that nothing proves: a subscription that starts there gets
// what there is, and is told that history is gone.
func Nowhere() Position { return Position{Stream: anyTag()} }

// anyTag is no stream's tag: nothing is proven with it.
func anyTag() StreamTag { return StreamTag{'-', '-', '-', '-', '-', '-', '-', '-'} }

// locate makes a position of an offset after which b was read.
func locate(after uint64, b Batch) (Position, bool) {
	p := Position{Stream: b.Evidence.Tag, Offset: after, Time: b.Evidence.StoredTime}
	if p.Time == 0 && len(b.Messages) > 0 {
		p.Time = b.Messages[0].Position.Time
	}
	return p, p.Time != 0
}
