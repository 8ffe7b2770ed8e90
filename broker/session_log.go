package broker

import (
	"context"
	"fmt"

	"github.com/rivulet-rt/rivulet/fanout"
)

// StartOf turns where a subscription is to begin into the position that says so:
// with no start, the end of the log as its leader has it.
func (s *Sessions) StartOf(ctx context.Context, c fanout.Channel, start fanout.Start) (fanout.Position, error) {
	ns, err := s.b.namespace(ctx, c.Namespace())
	if err != nil {
		return fanout.Position{}, err
	}
	home := ns.home(c)
	src := fanout.Source{Stream: home.id(), Filter: c}
	switch {
	case len(start.Positions) > 0:
		return start.Positions[0], nil
	case start.Last == 0 && start.Since == 0:
		tail, err := s.b.Tail(ctx, src)
		return tail.Fresh(), err
	}
	// Read first: what is stored from now on lies behind it.
	end, err := s.b.end(ctx, home)
	if err != nil {
		return fanout.Position{}, err
	}
	after, err := s.b.Seek(ctx, src, fanout.Seek{Last: start.Last, Since: start.Since})
	if err != nil {
		return fanout.Position{}, err
	}
	for _, req := range []getRequest{{Seq: after}, {Seq: after + 1, Next: home.filter(c)}} {
		if req.Seq == 0 {
			continue
		}
		m, found, err := s.b.get(ctx, home, req)
		if err != nil {
			return fanout.Position{}, err
		}
		if found {
			return home.position(after, m.time), nil
		}
	}
	return end, nil
}

// At is the position of a channel's message. The error wraps fanout.ErrNotStored if
// there is none at the offset.
func (s *Sessions) At(ctx context.Context, c fanout.Channel, offset uint64) (fanout.Position, error) {
	ns, err := s.b.namespace(ctx, c.Namespace())
	if err != nil {
		return fanout.Position{}, err
	}
	home := ns.home(c)
	m, found, err := s.b.at(ctx, home, offset)
	if err != nil {
		return fanout.Position{}, err
	}
	if !found || m.subject != home.filter(c) {
		return fanout.Position{}, fmt.Errorf("%w %d", fanout.ErrNotStored, offset)
	}
	return home.position(m.seq, m.time), nil
}

// Lag is how many stored messages of a channel lie after a position.
func (s *Sessions) Lag(ctx context.Context, c fanout.Channel, after fanout.Position) (uint64, error) {
	ns, err := s.b.namespace(ctx, c.Namespace())
	if err != nil {
		return 0, err
	}
	home := ns.home(c)
	from := after.Offset + 1
	if after.IsZero() || !after.Stream.SameStream(home.tag()) {
		from = 1
	}
	p, err := s.b.probe(ctx, home, home.filter(c), from)
	return p.count, err
}
