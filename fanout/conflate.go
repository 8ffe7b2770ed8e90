package fanout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Conflation has a subscription leave out what is outdated before it is sent.
type Conflation struct {
	By ConflateBy
	// MaxRate, up to protocol.MaxRate, bounds the messages a second once the
	// subscription has caught up; 0 sends as the client takes them.
	MaxRate int
}

// conflates tells by what the subscription does.
func (s *subscription) conflates() ConflateBy {
	if s.refine == nil {
		return ConflateNone
	}
	return s.refine.by
}

// snapshots reports whether the subscription begins with the newest of each key.
func (s *subscription) snapshots() bool { return s.conflates() != ConflateNone && !s.asked().given() }

// viewLocked returns the source's view, made if there is none: it is then complete
// from now on.
func (s *liveSource) viewLocked(by ConflateBy) *view {
	v := s.views[by-1]
	if v == nil {
		v = s.newView(by, s.last)
		s.views[by-1] = v
		s.hub.views.Add(1)
	}
	return v
}

// useView counts one more cursor on a view, or one less.
func (s *liveSource) useView(by ConflateBy, more int) {
	if by == ConflateNone {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.viewLocked(by)
	v.users += more
	v.idleSince = time.Now()
}

// dropIdleViews lets go of what no cursor has used for a while.
func (s *liveSource) dropIdleViews(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range s.views {
		if v != nil && v.users == 0 && now.Sub(v.idleSince) >= s.hub.cfg.Linger {
			v.reset(Position{})
			s.views[i] = nil
			s.hub.views.Add(-1)
		}
	}
}

// dropIdleViews looks at the sources that have views.
func (h *Hub) dropIdleViews(now time.Time) {
	if h.views.Load() == 0 {
		return
	}
	for _, s := range h.sources() {
		s.dropIdleViews(now)
	}
}

// resetViewsLocked empties the views, which are then complete from base.
func (s *liveSource) resetViewsLocked(base Position) {
	for _, v := range s.views {
		if v != nil {
			v.reset(base)
		}
	}
}

// raiseViewsLocked says that the views are not complete up to an offset.
func (s *liveSource) raiseViewsLocked(until uint64) {
	for _, v := range s.views {
		if v != nil {
			v.raise(until)
		}
	}
}

func (s *liveSource) pushViewsLocked(m *Message) {
	for _, v := range s.views {
		if v != nil {
			v.take(m, s.key.Filter.IsPattern())
		}
	}
}

// replayView is replay for a conflated cursor, c.
func (s *liveSource) replayView(c *cursor, limit int) (msgs []*Message, more, ok bool, upTo Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, v := c.pos, s.viewLocked(c.sub.conflates())
	begins := c.sub.snapshots() && !c.live
	if s.loose() && !c.sub.announced {
		return nil, false, false, s.last // the log is to prove that x is of this one
	}
	if s.loose() && s.proofs.asides != c.at.asides {
		// What the view has may follow a late message, or a gap, that the shard has still in
		// its queue: that goes first.
		return nil, true, true, s.last
	}
	var i int
	switch {
	case x == s.last:
		return nil, false, true, s.last
	case begins && x == v.front:
	case begins && x.Offset >= v.front.Offset, s.loose() && x.Offset >= v.base.Offset:
		i, ok = v.search(x.Offset), x.Stream == s.last.Stream
		if !ok {
			return nil, false, false, s.last
		}
	default:
		if i, ok = v.find(x); !ok {
			return nil, false, false, s.last
		}
	}
	msgs, more = v.after(i, limit)
	return msgs, more, true, s.last
}

// snapshotHere tells where the newest of each key begin, if the view knows.
func (s *liveSource) snapshotHere(by ConflateBy) (at Position, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[by-1]
	switch {
	case v == nil || !v.filled:
		return Position{}, false
	case s.loose():
		return Position{Offset: v.front.Offset}, true // the log will tell the position
	case v.held == 0:
		return s.last, true
	}
	return v.front, true
}

// fill begins a view with what the log holds of the newest ViewMessages messages of the
// channel, or those of a pattern among the newest ViewMessages of the stream. It reads
// forward, once, however many wait for it.
func (h *Hub) fill(ctx context.Context, src *liveSource, by ConflateBy) (Position, error) {
	_, err, _ := h.seeks.Do(fmt.Sprintf("fill %s %s %d", src.key.Stream, src.key.Filter, by), func() (any, error) { //nolint:contextcheck // see below
		// Others share the answer: it does not end with who asked first.
		ctx, cancel := context.WithTimeout(h.ctx, h.cfg.OpenTimeout)
		defer cancel()
		wait := h.backoff()
		err := h.fillOnce(ctx, src, by)
		for errors.Is(err, errMoved) && ctx.Err() == nil {
			wait.sleep(ctx)
			err = h.fillOnce(ctx, src, by)
		}
		return nil, err
	})
	if err != nil {
		return Position{}, err
	}
	if err := ctx.Err(); err != nil {
		return Position{}, context.Cause(ctx)
	}
	if at, ok := src.snapshotHere(by); ok {
		return at, nil
	}
	return Position{}, errMoved // nobody used it so long that it was let go of
}

func (h *Hub) fillOnce(ctx context.Context, src *liveSource, by ConflateBy) error {
	src.mu.Lock()
	v := src.viewLocked(by)
	from, filled := v.base, v.filled
	v.idleSince = time.Now()
	src.mu.Unlock()
	if filled {
		return nil
	}
	after, err := h.fillFrom(ctx, src.key, from)
	if err != nil {
		return err
	}
	old := src.newView(by, from)
	if err := old.read(ctx, h, src.key, after, from); err != nil {
		old.reset(from)
		return fmt.Errorf("newest of %s: %w", src.key.Filter, err)
	}
	if err := src.sameLog(ctx, v, from); err != nil {
		old.reset(from)
		return fmt.Errorf("newest of %s: %w", src.key.Filter, err)
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	src.joinViewLocked(v, old, from)
	return nil
}

// sameLog proves that what was just read for a view is of the log of which the feed
// brought what follows from. If it is not, the source has yet to find that out, and the
// view begins anew.
func (s *liveSource) sameLog(ctx context.Context, v *view, from Position) error {
	ok, _, err := s.proveLast(ctx, from)
	if err != nil || ok {
		return err
	}
	s.suspect()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.views[v.by-1] == v && !v.filled {
		v.reset(s.last)
	}
	return errMoved
}

// fillFrom is the offset after which a view is begun.
func (h *Hub) fillFrom(ctx context.Context, src Source, from Position) (uint64, error) {
	most := uint64(h.cfg.ViewMessages)
	if src.Filter.IsPattern() {
		return from.Offset - min(from.Offset, most), nil
	}
	return h.backend.Seek(ctx, src, Seek{Last: h.cfg.ViewMessages, Before: from.Offset + 1})
}

// fillRetries bounds how often in a row one read is tried again: there are many, and
// who waits would have to begin anew.
const fillRetries = 3

// read takes what the log holds after an offset, up to a position.
func (v *view) read(ctx context.Context, h *Hub, src Source, after uint64, upTo Position) error {
	wait, failed := h.backoff(), 0
	var at Position // zero before the first batch
	for more := true; more; {
		b, err := v.batch(ctx, h, src, &at, after)
		if err != nil {
			if failed++; failed > fillRetries || ctx.Err() != nil {
				return err
			}
			wait.sleep(ctx)
			continue
		}
		failed, more = 0, b.More
		for _, m := range b.Messages {
			if m.Offset() > upTo.Offset {
				return nil
			}
			v.take(m, src.Filter.IsPattern())
			at = m.Position
		}
	}
	return nil
}

// batch reads what follows at. Where history is found gone the view begins anew there.
func (v *view) batch(ctx context.Context, h *Hub, src Source, at *Position, after uint64) (Batch, error) {
	if at.IsZero() {
		b, from, err := h.readAt(ctx, src, after, h.cfg.ReadBatch)
		if err == nil {
			*at = from
			v.reset(from)
		}
		return b, err
	}
	b, err := h.reader.read(ctx, h.queryAt(src, at.Offset, *at))
	if err != nil {
		return b, err
	}
	ok, reason := Complete(*at, b.Evidence)
	switch begin := restart(*at, reason, b); {
	case ok:
	case reason == protocol.ReasonLogChanged:
		return b, errEpochRaised
	case begin != *at:
		*at = begin
		v.reset(begin)
		b.Messages, b.More = nil, true // read on from there
	default:
		v.raise(lostUntil(begin, b.Evidence))
	}
	return b, nil
}

// joinViewLocked puts what was read, old, before what has come meanwhile, v, unless
// that does not follow on: then v is complete from its own base, as it is.
func (s *liveSource) joinViewLocked(v, old *view, from Position) {
	if s.views[v.by-1] != v || v.front != from || v.base != from || old.front.Offset > from.Offset || v.filled {
		v.filled = true
		old.reset(from)
		return
	}
	for _, sl := range v.slots {
		if sl.m != nil {
			old.take(sl.m, s.key.Filter.IsPattern())
		}
	}
	old.users, old.filled = v.users, true
	v.reset(from)
	s.views[v.by-1] = old
}
