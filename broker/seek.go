package broker

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// seekSteps bounds a search: more than it takes to halve 2^53.
const seekSteps = 128

// Seek implements fanout.Log. JetStream has no index backwards, so "the newest n"
// is found by searching for the sequence after which the server counts n.
func (b *Broker) Seek(ctx context.Context, src fanout.Source, k fanout.Seek) (after uint64, err error) {
	defer b.observe(readSeek, time.Now())
	s, err := b.stream(src.Stream)
	if err != nil {
		return 0, err
	}
	filter := s.filter(src.Filter)
	if k.Last > 0 {
		after, err = b.seekLast(ctx, s, filter, uint64(k.Last), k.Before)
	} else {
		after, err = b.seekSince(ctx, s, filter, k.Since)
	}
	if err != nil {
		return 0, fmt.Errorf("seek in %s: %w", src.Filter, err)
	}
	return after, nil
}

func (b *Broker) seekSince(ctx context.Context, s *stream, filter string, since int64) (uint64, error) {
	// The end is read first: what is stored between the two reads is later.
	end, err := b.end(ctx, s)
	if err != nil {
		return 0, err
	}
	m, found, err := b.get(ctx, s, getRequest{Start: timeOf(since), Next: filter})
	if err != nil {
		return 0, err
	}
	if !found {
		return end.Offset, nil
	}
	return m.seq - 1, nil
}

// probe is what the server counts from one sequence on.
type probe struct {
	next  uint64 // the first message of the filter at or after it; 0 if none
	count uint64 // messages of the filter at or after it
}

func (b *Broker) probe(ctx context.Context, s *stream, filter string, from uint64) (probe, error) {
	part, err := b.direct(ctx, s, getRequest{Seq: max(from, 1), Next: filter, Batch: 1, MaxBytes: 1})
	if err != nil || len(part.list) == 0 {
		return probe{}, err
	}
	m := part.list[0]
	return probe{next: m.seq, count: m.pending + 1}, nil
}

// seekLast searches for the sequence from which n messages lie before the given
// one. While it searches more may be stored. Without an upper bound that is no
// matter: whatever it finds was the newest n at that moment. With one, what lies
// at or after it is counted again before each step, so that the count is never
// too low and the result never reaches further back than n.
func (b *Broker) seekLast(ctx context.Context, s *stream, filter string, n, before uint64) (uint64, error) {
	count := func(from uint64) (probe, error) {
		above := probe{}
		if before != 0 {
			var err error
			if above, err = b.probe(ctx, s, filter, before); err != nil {
				return probe{}, err
			}
		}
		p, err := b.probe(ctx, s, filter, from)
		p.count -= min(p.count, above.count)
		return p, err
	}
	oldest, err := count(1)
	if err != nil {
		return 0, err
	}
	if oldest.count <= n {
		return max(oldest.next, 1) - 1, nil
	}
	top := before
	if top == 0 {
		end, err := b.end(ctx, s)
		if err != nil {
			return 0, err
		}
		top = end.Offset + 1
	}
	return searchBack(count, oldest, top, n)
}

// searchBack narrows low, where more than n are counted, and high, where fewer
// are. It guesses as if the messages were spread evenly, and halves where that
// does not help.
func searchBack(count func(uint64) (probe, error), oldest probe, high, n uint64) (uint64, error) {
	low, lowCount, highCount := oldest.next, oldest.count, uint64(0)
	highNext := high // the first message at or after high
	for step := range seekSteps {
		if lowCount == n+1 {
			return low, nil
		}
		if low+1 >= high {
			break
		}
		mid := low + (high-low)/2
		if step%2 == 0 && lowCount > highCount {
			share := float64(lowCount-n) / float64(lowCount-highCount)
			mid = low + uint64(math.Round(share*float64(high-low)))
		}
		mid = min(max(mid, low+1), high-1)
		p, err := count(mid)
		switch {
		case err != nil:
			return 0, err
		case p.count == n:
			return p.next - 1, nil
		case p.count > n:
			low, lowCount = p.next, p.count
		default:
			high, highCount = mid, p.count
			if p.next != 0 {
				highNext = p.next
			}
		}
	}
	// More arrived than fit between two steps: one message too few, never too many.
	return highNext - 1, nil
}
