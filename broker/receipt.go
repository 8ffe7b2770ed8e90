package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// receipt turns an acknowledgement into where the message is: its sequence and
// its store time, which the acknowledgement does not say.
func (b *Broker) receipt(ctx context.Context, s *sending, ack pubAck) (fanout.Receipt, error) {
	if ack.Duplicate {
		return b.duplicateReceipt(ctx, s, ack.Seq)
	}
	if err := b.outlived(ctx, s, ack.Seq); err != nil {
		return fanout.Receipt{}, err
	}
	t, ok := b.feedTime(s, ack.Seq)
	if !ok {
		s.stream.recent.reached(ack.Seq, 0)
		t = b.storeTime(ctx, s, ack.Seq)
	}
	return fanout.Receipt{Position: s.stream.position(ack.Seq, t)}, nil
}

// feedTime asks the node's own live feed, which on a single node sees every
// message just before its acknowledgement.
func (b *Broker) feedTime(s *sending, seq uint64) (int64, bool) {
	oldest := s.sent.Add(-clockSlack).UnixNano()
	if b.srv == nil || !b.feed.started.Load() || time.Now().UnixNano() < b.feed.behind.Load() {
		t, ok := s.stream.recent.known(seq)
		return t, ok && t >= oldest
	}
	t, coming := s.stream.recent.time(seq)
	if coming == nil {
		return t, t >= oldest
	}
	defer s.stream.recent.forget(seq, coming)
	timer := time.NewTimer(feedWait)
	defer timer.Stop()
	select {
	case t = <-coming:
		return t, t >= oldest
	case <-timer.C:
		b.feed.behind.Store(time.Now().Add(behindFor).UnixNano())
		return 0, false
	}
}

// storeTime reads when a sequence was stored. The message is stored, whatever
// this read says, so there is always a time: where it cannot be read the time of
// the next message that is stored, and at last this node's clock. Both make a
// position that may later be called gone, but never one that hides a loss.
func (b *Broker) storeTime(ctx context.Context, s *sending, seq uint64) int64 {
	b.met.reads.WithLabelValues(readReceipt).Inc()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.PublishTimeout)
	defer cancel()
	if m, found, err := b.at(ctx, s.stream, seq); err == nil && found {
		s.stream.recent.reached(seq, m.time)
		return m.time
	}
	if m, found, err := b.get(ctx, s.stream, getRequest{Seq: seq, Next: ">"}); err == nil && found {
		return m.time
	}
	return time.Now().UnixNano()
}

// duplicateReceipt is the receipt of the first message with the key, if it has
// the same content. Where it is no longer stored there is nothing to compare.
func (b *Broker) duplicateReceipt(ctx context.Context, s *sending, seq uint64) (fanout.Receipt, error) {
	b.met.reads.WithLabelValues(readReceipt).Inc()
	m, found, err := b.at(ctx, s.stream, seq)
	if err != nil {
		return fanout.Receipt{}, fmt.Errorf("publish to %s: compare with the first: %w", s.p.Channel, s.unknown(err))
	}
	if !found {
		return fanout.Receipt{Position: s.stream.position(seq, b.storeTime(ctx, s, seq)), Duplicate: true}, nil
	}
	first, ok := b.dec.decode(s.stream, m)
	if ok && first.Kind == fanout.KindDeleted && s.p.Publisher == deleter { // a deletion that is asked for again
		return fanout.Receipt{Position: first.Position, Duplicate: true}, nil
	}
	if !ok || first.Channel != s.p.Channel || !sameContent(first, s) {
		return fanout.Receipt{}, fmt.Errorf("publish to %s: %w: the first is at offset %d", s.p.Channel, fanout.ErrKeyConflict, seq)
	}
	return fanout.Receipt{Position: first.Position, Duplicate: true}, nil
}
