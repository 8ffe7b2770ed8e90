package fanout

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// reader reads the log for all cursors of the node: one read at a time per
// (source, position) however many ask, at most perStream at once on a stream,
// because reading holds up publishing there, and in turns between the channels of
// a stream, so that one channel's backlog does not starve another's resume. What
// was read stays for a moment: a crowd that comes back a little apart shares it.
type reader struct {
	// Static after construction.
	log       Log
	ctx       context.Context //nolint:containedctx // the hub's: reads end with it, not with who asked first
	start     func(func()) bool
	endOf     func(Source) Position // what the live feed has handed over, zero if it is not active
	perStream int
	keep      time.Duration
	metrics   *metrics

	mu      sync.Mutex // guards the following
	streams map[StreamID]*readQueue
}

// keptBatches and keptBytes bound what is kept per stream.
const (
	keptBatches = 64
	keptBytes   = 8 << 20
)

// readQueue is one stream's reads. Guarded by reader.mu.
type readQueue struct {
	running int
	calls   map[Query]*readCall     // waiting and running, that others may share
	waiting map[Channel][]*readCall // by filter
	turn    []Channel               // filters with waiting calls, next first
	kept    []keptBatch             // oldest first
	bytes   int                     // of kept
	version uint64                  // raised by forget: what is being read now is not kept
}

type readCall struct {
	query  Query
	shared bool
	done   []func(readResult)
}

// readResult is a batch and what the live feed had handed over before it was read:
// a batch without More is complete up to there.
type readResult struct {
	Batch
	upTo Position
	err  error
}

type keptBatch struct {
	query  Query
	result readResult
	until  time.Time
	bytes  int
}

func newReader(ctx context.Context, log Log, cfg HubConfig, m *metrics, start func(func()) bool, endOf func(Source) Position) *reader {
	return &reader{
		log: log, ctx: ctx, start: start, endOf: endOf, perStream: cfg.ReadsPerStream, keep: cfg.KeepReads,
		metrics: m, streams: make(map[StreamID]*readQueue),
	}
}

// read waits for a read that begins from now on.
func (r *reader) read(ctx context.Context, q Query) (Batch, error) {
	got := make(chan readResult, 1)
	r.ask(q, false, func(res readResult) { got <- res })
	select {
	case res := <-got:
		return res.Batch, res.err
	case <-ctx.Done():
		return Batch{}, context.Cause(ctx)
	case <-r.ctx.Done():
		return Batch{}, ErrClosed
	}
}

// request calls done with the answer to q, from another goroutine or at once. It
// may be the answer of a read under way, or of a moment ago, but not of one that
// began before the source was forgotten.
func (r *reader) request(q Query, done func(readResult)) { r.ask(q, true, done) }

func (r *reader) ask(q Query, shared bool, done func(readResult)) {
	r.mu.Lock()
	s := r.streamLocked(q.Source.Stream)
	if shared {
		if res, ok := s.find(q); ok {
			r.mu.Unlock()
			r.metrics.readsKept.Inc()
			done(res)
			return
		}
		if c := s.calls[q]; c != nil {
			c.done = append(c.done, done)
			r.mu.Unlock()
			r.metrics.readsShared.Inc()
			return
		}
	}
	c := &readCall{query: q, shared: shared, done: []func(readResult){done}}
	if shared {
		s.calls[q] = c
	}
	s.push(c)
	run := s.running < r.perStream
	if run {
		s.running++
	}
	r.mu.Unlock()
	if run {
		r.start(func() { r.work(s) })
	}
}

func (r *reader) streamLocked(id StreamID) *readQueue {
	s := r.streams[id]
	if s == nil {
		s = &readQueue{calls: make(map[Query]*readCall), waiting: make(map[Channel][]*readCall)}
		r.streams[id] = s
	}
	return s
}

// work runs the stream's calls until none waits.
func (r *reader) work(s *readQueue) {
	for {
		r.mu.Lock()
		c := s.pop()
		if c == nil {
			s.running--
			r.mu.Unlock()
			return
		}
		version := s.version
		r.mu.Unlock()

		res := readResult{upTo: r.endOf(c.query.Source)}
		began := time.Now()
		res.Batch, res.err = r.log.Read(r.ctx, c.query)
		r.metrics.readsLog.Inc()
		r.metrics.readSeconds.Observe(time.Since(began).Seconds())

		r.mu.Lock()
		if s.calls[c.query] == c {
			delete(s.calls, c.query)
		}
		done := c.done
		if res.err == nil && c.shared && version == s.version {
			s.store(c.query, res, r.keep)
		}
		r.mu.Unlock()
		for _, f := range done {
			f(res)
		}
	}
}

// forget drops what was kept of a source that was purged, changed or lost a
// message, and lets nobody join a read of it that is under way.
func (r *reader) forget(src Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.streams[src.Stream]
	if s == nil {
		return
	}
	touches := func(f Channel) bool { return f.Matches(src.Filter) || src.Filter.Matches(f) }
	s.kept = slices.DeleteFunc(s.kept, func(k keptBatch) bool {
		gone := touches(k.query.Source.Filter)
		if gone {
			s.bytes -= k.bytes
		}
		return gone
	})
	s.version++
	for q := range s.calls {
		if touches(q.Source.Filter) {
			delete(s.calls, q)
		}
	}
}

func (s *readQueue) push(c *readCall) {
	f := c.query.Source.Filter
	if len(s.waiting[f]) == 0 {
		s.turn = append(s.turn, f)
	}
	s.waiting[f] = append(s.waiting[f], c)
}

// pop takes the first call of the filter whose turn it is.
func (s *readQueue) pop() *readCall {
	if len(s.turn) == 0 {
		return nil
	}
	f := s.turn[0]
	s.turn = s.turn[1:]
	c := s.waiting[f][0]
	if rest := s.waiting[f][1:]; len(rest) > 0 {
		s.waiting[f] = rest
		s.turn = append(s.turn, f)
	} else {
		delete(s.waiting, f)
	}
	return c
}

// store keeps a batch that is complete from its Prove on and brought something.
func (s *readQueue) store(q Query, res readResult, keep time.Duration) {
	now := time.Now()
	s.expire(now)
	if keep <= 0 || q.Prove.IsZero() || len(res.Messages) == 0 {
		return
	}
	if ok, _ := Complete(q.Prove, res.Evidence); !ok {
		return
	}
	k := keptBatch{query: q, result: res, until: now.Add(keep)}
	for _, m := range res.Messages {
		k.bytes += m.Size()
	}
	s.bytes += k.bytes
	s.kept = append(s.kept, k)
}

// sweep lets go of what is kept no longer.
func (r *reader) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.streams {
		s.expire(now)
	}
}

// expire drops what is kept no longer, and the oldest of too much.
func (s *readQueue) expire(now time.Time) {
	n := 0
	for n < len(s.kept) && (s.kept[n].until.Before(now) || len(s.kept)-n >= keptBatches || s.bytes > keptBytes) {
		s.bytes -= s.kept[n].bytes
		n++
	}
	s.kept = slices.Delete(s.kept, 0, n)
}

// find answers q from a kept batch that began at q.Prove or holds the message
// there: its presence, with that time, is the proof. An answer that would be empty
// is none.
func (s *readQueue) find(q Query) (readResult, bool) {
	now := time.Now()
	for i := range s.kept {
		k := &s.kept[i]
		if k.query.Source != q.Source || k.until.Before(now) || q.Prove.IsZero() || q.Prove.Offset != q.After {
			continue
		}
		if k.query.Prove == q.Prove {
			return k.result, true
		}
		msgs := k.result.Messages
		at, found := slices.BinarySearchFunc(msgs, q.After, func(m *Message, after uint64) int {
			return cmp.Compare(m.Offset(), after)
		})
		if found && at+1 < len(msgs) && msgs[at].Position == q.Prove {
			res := k.result
			res.Messages = msgs[at+1:]
			res.Evidence = Evidence{Tag: q.Prove.Stream, StoredTime: q.Prove.Time, Matches: true}
			return res, true
		}
	}
	return readResult{}, false
}
