package fanout

import (
	"context"
	"fmt"
	"time"
)

// acquire returns the live source for src, opened, and counts the caller as one
// of its users until release.
func (h *Hub) acquire(ctx context.Context, src Source) (*liveSource, error) {
	h.mu.Lock()
	s := h.lookupLocked(src)
	if s == nil {
		s = h.addLocked(src)
		h.start(func() { h.open(s) }) //nolint:contextcheck // opening serves all who wait, not the first alone
	}
	s.refs++
	h.mu.Unlock()
	select {
	case <-s.opened:
	case <-ctx.Done():
		h.release(s)
		return nil, context.Cause(ctx)
	case <-h.ctx.Done():
		h.release(s)
		return nil, ErrClosed
	}
	if s.err != nil {
		h.release(s)
		return nil, s.err
	}
	return s, nil
}

// acquireOpen is acquire for a channel that is open already; nil if it is not.
func (h *Hub) acquireOpen(c Channel) *liveSource {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.channels[c]
	if s == nil {
		return nil
	}
	if !s.isOpen() || s.err != nil {
		return nil
	}
	s.refs++
	return s
}

func (h *Hub) release(s *liveSource) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.refs--
	if s.refs == 0 {
		s.idleSince = time.Now()
	}
}

func (h *Hub) addLocked(src Source) *liveSource {
	s := &liveSource{
		key: src, hub: h, turn: uint8(h.opened.Add(1) % quietRounds), opened: make(chan struct{}), wanted: make([]bool, len(h.shards)),
		ring: ring{limit: h.cfg.RingMessages, most: h.cfg.RingBytes, budget: h.budget},
	}
	if s.loose() {
		s.proofs = new(proofs)
	}
	if !src.Filter.IsPattern() {
		h.channels[src.Filter] = s
	} else {
		if h.patterns[src.Filter] == nil {
			h.patterns[src.Filter] = make(map[StreamID]*liveSource)
			h.matching.add(src.Filter)
		}
		h.patterns[src.Filter][src.Stream] = s
	}
	h.metrics.sources.Inc()
	return s
}

func (h *Hub) removeLocked(s *liveSource) {
	if h.lookupLocked(s.key) != s {
		return
	}
	if !s.key.Filter.IsPattern() {
		delete(h.channels, s.key.Filter)
	} else {
		delete(h.patterns[s.key.Filter], s.key.Stream)
		if len(h.patterns[s.key.Filter]) == 0 {
			delete(h.patterns, s.key.Filter)
			h.matching.remove(s.key.Filter)
		}
	}
	h.metrics.sources.Dec()
}

// open declares interest first and reads the tail second, so that every message is
// either at or before the tail or comes with the feed.
func (h *Hub) open(s *liveSource) {
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.OpenTimeout)
	defer cancel()
	err := h.feed.Watch(ctx, s.key)
	var t Tail
	if err == nil {
		if t, err = h.backend.Tail(ctx, s.key); err != nil {
			h.feed.Unwatch(s.key)
		}
	}
	if err != nil {
		h.mu.Lock()
		h.removeLocked(s)
		h.mu.Unlock()
		s.mu.Lock()
		s.state, s.err = feedFailed, fmt.Errorf("open %s: %w", s.key.Filter, err)
		s.pending = nil
		s.mu.Unlock()
		close(s.opened)
		return
	}
	s.mu.Lock()
	s.openedAt, s.checked = time.Now(), h.exact
	s.retention = t.Retention
	s.last = t.Fresh()
	s.floor = s.last
	s.ring.reset(s.last)
	s.state = feedRepairing
	if !s.joinLocked() {
		h.start(s.repair)
	}
	s.mu.Unlock()
	close(s.opened)
	if t.Retention > 0 && t.Retention/4 < h.cfg.SweepInterval {
		select {
		case h.hurry <- struct{}{}:
		default:
		}
	}
}

// refresh proves that a source whose position has grown old has missed nothing up
// to the end of its stream, and moves it there. The end is read first.
func (h *Hub) refresh(ctx context.Context, s *liveSource) error {
	began := time.Now()
	t, err := h.backend.Tail(ctx, s.key)
	if err != nil {
		return err
	}
	s.mu.Lock()
	from := s.baseLocked()
	s.retention = t.Retention
	s.mu.Unlock()
	b, err := h.reader.read(ctx, Query{Source: s.key, After: from.Offset, Limit: 1, Prove: from})
	if err != nil {
		return err
	}
	fresh := t.End
	switch ok, _ := Complete(from, b.Evidence); {
	case !ok:
		s.suspect()
	case fresh.Stream == b.Evidence.Tag && (len(b.Messages) == 0 || b.Messages[0].Offset() > fresh.Offset):
		s.freshen(from, fresh, began)
	}
	return nil
}
