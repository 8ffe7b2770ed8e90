package fanout_test

import (
	"context"
	"sync"

	"github.com/rivulet-rt/rivulet/fanout"
)

// memFeed is one node's live feed: in order, but it repeats messages and loses
// them: announced in time if exact, silently if not.
type memFeed struct {
	log   *memLog
	exact bool
	ready chan struct{}

	mu      sync.Mutex // guards the following
	queue   []feedItem
	busy    bool // items of the queue are being dispatched
	watched map[fanout.Source]bool
	healed  bool
	past    []*fanout.Message
}

type feedItem struct {
	m       *fanout.Message
	suspect bool
	stream  fanout.StreamID
}

func (l *memLog) newFeed(exact bool) *memFeed {
	f := &memFeed{log: l, exact: exact, ready: make(chan struct{}, 1), watched: make(map[fanout.Source]bool)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.feeds = append(l.feeds, f)
	return f
}

// run dispatches until ctx ends.
func (f *memFeed) run(ctx context.Context, h *fanout.Hub) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.ready:
		}
		f.mu.Lock()
		items := f.queue
		f.queue, f.busy = nil, true
		f.mu.Unlock()
		for _, it := range items {
			if it.suspect {
				h.Suspect(it.stream)
			} else {
				h.Dispatch(it.m)
			}
		}
		f.mu.Lock()
		f.busy = false
		f.mu.Unlock()
	}
}

// idle reports whether everything that was pushed is dispatched.
func (f *memFeed) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue) == 0 && !f.busy
}

func (f *memFeed) push(m *fanout.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := false
	for s := range f.watched {
		wanted = wanted || s.Stream == m.Stream && s.Filter.Matches(m.Channel)
	}
	if !wanted {
		return
	}
	if !f.healed && f.log.faulty(15) {
		if f.exact {
			f.enqueueLocked(feedItem{suspect: true, stream: m.Stream})
		}
		return
	}
	f.enqueueLocked(feedItem{m: m})
	f.past = append(f.past, m)
	if !f.healed && f.log.faulty(20) {
		// A new leader repeats what the old one had sent.
		f.enqueueLocked(feedItem{m: f.past[f.log.faultyIndex(len(f.past))]})
	}
}

func (l *memLog) faultyIndex(n int) int {
	for i := range n {
		if l.faulty(4) {
			return n - 1 - i
		}
	}
	return n - 1
}

func (f *memFeed) suspect(id fanout.StreamID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// The connection was cut: what it had brought and was not read yet is dropped.
	f.past, f.queue = nil, nil
	f.enqueueLocked(feedItem{suspect: true, stream: id})
}

// heal ends the faults; what was lost before is announced if the feed is exact.
func (f *memFeed) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.healed = true
}

func (f *memFeed) enqueueLocked(it feedItem) {
	f.queue = append(f.queue, it)
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// Watch implements fanout.Feed.
func (f *memFeed) Watch(_ context.Context, s fanout.Source) error {
	if err := f.log.hiccup(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watched[s] {
		panic("watched twice: " + s.Filter.String())
	}
	f.watched[s] = true
	return nil
}

// Unwatch implements fanout.Feed.
func (f *memFeed) Unwatch(s fanout.Source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.watched[s] {
		panic("not watched: " + s.Filter.String())
	}
	delete(f.watched, s)
}

// Exact implements fanout.Feed.
func (f *memFeed) Exact() bool { return f.exact }

// Tails implements fanout.Feed.
func (f *memFeed) Tails(_ context.Context, sources []fanout.Source) ([]fanout.Position, error) {
	if err := f.log.hiccup(); err != nil {
		return nil, err
	}
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	out := make([]fanout.Position, len(sources))
	for i, s := range sources {
		out[i] = f.log.lastLocked(s)
	}
	return out, nil
}
