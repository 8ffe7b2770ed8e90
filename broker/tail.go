package broker

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rivulet-rt/rivulet/fanout"
)

// sweepMost is how many channels one request asks about; the server allows 1,024.
const sweepMost = 1000

// Tail implements fanout.Log. Both reads come from the leader, the end first.
func (b *Broker) Tail(ctx context.Context, src fanout.Source) (fanout.Tail, error) {
	defer b.observe(readTail, time.Now())
	s, err := b.stream(src.Stream)
	if err != nil {
		return fanout.Tail{}, err
	}
	end, err := b.end(ctx, s)
	if err != nil {
		return fanout.Tail{}, fmt.Errorf("tail of %s: %w", src.Filter, err)
	}
	m, found, err := b.get(ctx, s, getRequest{Last: s.filter(src.Filter)})
	if err != nil {
		return fanout.Tail{}, fmt.Errorf("tail of %s: %w", src.Filter, err)
	}
	tail := fanout.Tail{End: end, Retention: s.facts.Load().retention}
	if found {
		tail.Last = s.position(m.seq, m.time)
	}
	return tail, nil
}

// end is the end of a stream: its last message, or where that is not stored any
// more what the stream remembers of it.
func (b *Broker) end(ctx context.Context, s *stream) (fanout.Position, error) {
	m, found, err := b.get(ctx, s, getRequest{Last: ">"})
	if err != nil {
		return fanout.Position{}, err
	}
	if found {
		s.recent.reached(m.seq, m.time)
		return s.position(m.seq, m.time), nil
	}
	info, err := b.infoAndTag(ctx, s, "")
	if err != nil {
		return fanout.Position{}, err
	}
	return s.position(info.end()), nil
}

// Tails returns the last message of each source, zero where there is none, as
// the stream's leader has it: for the sweep of thousands of active channels,
// which costs a few microseconds each. Patterns are allowed but asked one by one.
func (b *Broker) Tails(ctx context.Context, sources []fanout.Source) ([]fanout.Position, error) {
	defer b.observe(readSweep, time.Now())
	out := make([]fanout.Position, len(sources))
	byStream := map[*stream][]int{}
	for i, src := range sources {
		s, err := b.stream(src.Stream)
		if err != nil {
			return nil, err
		}
		byStream[s] = append(byStream[s], i)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(len(b.replay))
	for s, list := range byStream {
		group.Go(func() error { return b.sweep(ctx, s, sources, list, out) })
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	return out, nil
}

// sweep fills in the sources of one stream that list names.
func (b *Broker) sweep(ctx context.Context, s *stream, sources []fanout.Source, list []int, out []fanout.Position) error {
	bySubject := make(map[string]int, len(list))
	subjects := make([]string, 0, min(len(list), sweepMost))
	for _, i := range list {
		c := sources[i].Filter
		if c.IsPattern() {
			if err := b.lastOf(ctx, s, s.filter(c), &out[i]); err != nil {
				return err
			}
			continue
		}
		subject := s.filter(c)
		bySubject[subject] = i
		if subjects = append(subjects, subject); len(subjects) == sweepMost {
			if err := b.sweepPart(ctx, s, subjects, bySubject, out); err != nil {
				return err
			}
			subjects = subjects[:0]
		}
	}
	if len(subjects) == 0 {
		return nil
	}
	return b.sweepPart(ctx, s, subjects, bySubject, out)
}

func (b *Broker) sweepPart(ctx context.Context, s *stream, subjects []string, bySubject map[string]int, out []fanout.Position) error {
	part, fresh, err := b.multiLast(ctx, s, subjects)
	if err != nil {
		return err
	}
	if !fresh {
		for _, subject := range subjects {
			if err := b.lastOf(ctx, s, subject, &out[bySubject[subject]]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, m := range part.list {
		if i, asked := bySubject[m.subject]; asked {
			out[i] = s.position(m.seq, m.time)
		}
	}
	return nil
}

// multiLast asks for the last messages of many subjects at once. fresh is false
// where only a follower answered that lacks what the leader had before.
func (b *Broker) multiLast(ctx context.Context, s *stream, subjects []string) (part batch, fresh bool, err error) {
	req := getRequest{MultiLast: subjects}
	if !s.facts.Load().replicated {
		part, err = b.direct(ctx, s, req)
		return part, true, err
	}
	info, err := b.info(ctx, s, "")
	if err != nil {
		return batch{}, false, err
	}
	for try := range lagTries {
		if try > 0 {
			if err := pause(ctx, lagWait<<try); err != nil {
				return batch{}, false, err
			}
		}
		if part, err = b.direct(ctx, s, req); err != nil {
			return batch{}, false, err
		}
		// A follower without any of the messages does not say how far it is.
		if part.upTo >= info.State.Last || info.State.Messages == 0 {
			return part, true, nil
		}
	}
	return batch{}, false, nil
}

func (b *Broker) lastOf(ctx context.Context, s *stream, filter string, out *fanout.Position) error {
	m, found, err := b.get(ctx, s, getRequest{Last: filter})
	if found {
		*out = s.position(m.seq, m.time)
	}
	return err
}
