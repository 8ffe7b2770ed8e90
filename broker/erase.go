package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rivulet-rt/rivulet/fanout"
)

// mostErasures is how many deletions erase at a time; each reads its channel from the
// message on.
const mostErasures = 16

// erasures are the deletions that are at work. They belong to the node, not to the
// request that began one: what is left of a channel may take longer to read than a
// request lasts, and one that began anew each time would never end.
type erasures struct {
	mu      sync.Mutex // guards the following
	closed  bool
	running map[erasureKey]*erasure
}

type erasureKey struct {
	stream string
	offset uint64
}

type erasure struct {
	done chan struct{} // closed when what follows is set
	// marker is the position of the deletion's marker, zero if none was found.
	marker fanout.Position
	err    error
}

// close lets no erasure begin any more.
func (e *erasures) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
}

// erase removes a message and all its versions, and returns the marker that tells of it.
// It waits for the erasure that is at work already, if there is one. Errors wrap
// fanout.ErrTooBusy, ErrClosed, what the log answered, or are those of ctx.
func (e *erasures) erase(ctx context.Context, b *Broker, s *stream, c fanout.Channel, offset uint64) (fanout.Position, error) {
	work, err := e.join(b, s, c, offset)
	if err != nil {
		return fanout.Position{}, err
	}
	select {
	case <-work.done:
		return work.marker, work.err
	case <-ctx.Done():
		return fanout.Position{}, context.Cause(ctx)
	}
}

func (e *erasures) join(b *Broker, s *stream, c fanout.Channel, offset uint64) (*erasure, error) {
	key := erasureKey{s.name, offset}
	e.mu.Lock()
	defer e.mu.Unlock()
	if work := e.running[key]; work != nil {
		return work, nil
	}
	switch {
	case e.closed:
		return nil, fmt.Errorf("%w: %w", fanout.ErrUnavailable, fanout.ErrClosed)
	case len(e.running) >= mostErasures:
		return nil, fmt.Errorf("%w: %d deletions are at work", fanout.ErrTooBusy, len(e.running))
	case e.running == nil:
		e.running = make(map[erasureKey]*erasure)
	}
	work := &erasure{done: make(chan struct{})}
	e.running[key] = work
	b.wg.Go(func() {
		defer close(work.done)
		work.marker, work.err = b.eraseAll(b.ctx, s, c, offset)
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.running, key)
	})
	return work, nil
}

// eraseAll removes the message first: no version of it is accepted any more, so none can
// come behind the reading that follows but one that was under way, which its publisher
// takes back (see Broker.outlived).
func (b *Broker) eraseAll(ctx context.Context, s *stream, c fanout.Channel, offset uint64) (marker fanout.Position, err error) {
	if _, err := b.message(ctx, s, c, offset); err == nil {
		if err := b.remove(ctx, s, offset); err != nil {
			return marker, err
		}
	} else if !errors.Is(err, fanout.ErrNoMessage) {
		return marker, err
	}
	q := fanout.Query{Source: fanout.Source{Stream: s.id(), Filter: c}, After: offset, Limit: batchMost}
	for more := true; more; {
		var list []*fanout.Message
		if list, more, err = b.readMessages(ctx, s, q); err != nil {
			return marker, err
		}
		for _, m := range list {
			q.After = m.Offset()
			switch {
			case m.Kind == fanout.KindDeleted && m.Target == offset:
				marker = m.Position
			case m.Updates == offset:
				if err := b.remove(ctx, s, m.Offset()); err != nil {
					return marker, err
				}
			}
		}
	}
	return marker, nil
}

// outlived takes a version back whose original was deleted while it was being stored:
// the deletion may have looked for versions before this one came. It then counts as
// stored before the deletion, and as deleted with the rest.
func (b *Broker) outlived(ctx context.Context, s *sending, seq uint64) error {
	if s.p.Updates == 0 {
		return nil
	}
	_, err := b.message(ctx, s.stream, s.p.Channel, s.p.Updates)
	if errors.Is(err, fanout.ErrNoMessage) {
		err = b.remove(ctx, s.stream, seq)
	}
	if err != nil {
		return fmt.Errorf("publish to %s: look whether %d was deleted meanwhile: %w", s.p.Channel, s.p.Updates, s.unknown(err))
	}
	return nil
}
