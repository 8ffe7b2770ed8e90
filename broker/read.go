package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

const (
	// lagTries is how often a follower that is behind is asked again, lagWait apart,
	// before the leader is asked message by message.
	lagTries = 3
	lagWait  = 10 * time.Millisecond
	// leaderMost bounds such a slow read; more follows with the next one.
	leaderMost = 32
)

// Read implements fanout.Log. It returns at most 256 messages and about 1 MiB at
// a time. With a Limit of 0 it only gathers evidence.
func (b *Broker) Read(ctx context.Context, q fanout.Query) (fanout.Batch, error) {
	defer b.observe(readBatch, time.Now())
	s, err := b.stream(q.Source.Stream)
	if err != nil {
		return fanout.Batch{}, err
	}
	var out fanout.Batch
	if q.Limit > 0 {
		if out.Messages, out.More, err = b.readMessages(ctx, s, q); err != nil {
			return fanout.Batch{}, fmt.Errorf("read %s after %d: %w", q.Source.Filter, q.After, err)
		}
	}
	if q.Prove.IsZero() {
		out.Evidence.Tag = s.tag()
		return out, nil
	}
	if out.Evidence, err = b.evidence(ctx, s, q.Source.Filter, q.Prove); err != nil {
		return fanout.Batch{}, fmt.Errorf("prove %s after %d: %w", q.Source.Filter, q.Prove.Offset, err)
	}
	return out, nil
}

func (b *Broker) observe(kind string, since time.Time) {
	b.met.reads.WithLabelValues(kind).Inc()
	if kind == readBatch {
		b.met.readTime.Observe(time.Since(since).Seconds())
	}
}

// readMessages reads one batch, and further ones only while all that was found
// was not written by this service.
func (b *Broker) readMessages(ctx context.Context, s *stream, q fanout.Query) (out []*fanout.Message, more bool, err error) {
	filter, after := s.filter(q.Source.Filter), q.After
	for {
		part, err := b.readBatch(ctx, s, filter, after, min(q.Limit, batchMost))
		if err != nil {
			return nil, false, err
		}
		for _, m := range part.list {
			after = m.seq
			if msg, ok := b.dec.decode(s, m); ok {
				out = append(out, msg)
			} else {
				b.met.foreign.Inc()
			}
		}
		if more = part.pending > 0; len(out) > 0 || !more || len(part.list) == 0 {
			return out, more, nil
		}
	}
}

// readBatch reads what follows after, in the order of the log.
func (b *Broker) readBatch(ctx context.Context, s *stream, filter string, after uint64, limit int) (batch, error) {
	if err := s.reads.Acquire(ctx, 1); err != nil {
		return batch{}, err
	}
	defer s.reads.Release(1)
	req := getRequest{Seq: after + 1, Next: filter, Batch: limit, MaxBytes: batchBytes}
	if !s.facts.Load().replicated {
		return b.direct(ctx, s, req)
	}
	return b.readReplicated(ctx, s, req)
}

// readReplicated reads from any replica and checks against the leader that this
// one neither has dropped what the leader still has, nor lacks its end.
func (b *Broker) readReplicated(ctx context.Context, s *stream, req getRequest) (batch, error) {
	for try := range lagTries {
		if try > 0 {
			if err := pause(ctx, lagWait<<try); err != nil {
				return batch{}, err
			}
		}
		part, err := b.direct(ctx, s, req)
		if err != nil {
			if errors.Is(err, errNoAnswer) || ctx.Err() != nil {
				return batch{}, err
			}
			continue // a replica that is going down
		}
		whole, err := b.agrees(ctx, s, req, part)
		if err != nil {
			return batch{}, err
		}
		if whole {
			return part, nil
		}
	}
	return b.readLeader(ctx, s, req)
}

// agrees compares the first message, and where a replica says that there are no
// more also the last, with the leader's. Every limit drops a channel's oldest
// messages, so what lies between is the same.
func (b *Broker) agrees(ctx context.Context, s *stream, req getRequest, part batch) (bool, error) {
	front, found, err := b.leaderGet(ctx, s, getRequest{Seq: req.Seq, Next: req.Next})
	if err != nil {
		return false, err
	}
	if !found {
		return true, nil // the leader has nothing; what the replica has is older
	}
	if len(part.list) == 0 || part.list[0].seq > front.seq {
		return false, nil
	}
	if part.pending > 0 {
		return true, nil
	}
	end, found, err := b.leaderGet(ctx, s, getRequest{Last: req.Next})
	if err != nil {
		return false, err
	}
	return !found || end.seq <= part.list[len(part.list)-1].seq, nil
}

// readLeader reads a few messages one by one.
func (b *Broker) readLeader(ctx context.Context, s *stream, req getRequest) (batch, error) {
	var out batch
	next := req.Seq
	for range min(req.Batch, leaderMost) {
		m, found, err := b.leaderGet(ctx, s, getRequest{Seq: next, Next: req.Next})
		if err != nil {
			return batch{}, err
		}
		if !found {
			return out, nil
		}
		out.list = append(out.list, m)
		next = m.seq + 1
	}
	_, found, err := b.leaderGet(ctx, s, getRequest{Seq: next, Next: req.Next})
	if found {
		out.pending = 1 // at least
	}
	return out, err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
