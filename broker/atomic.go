package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

const (
	// hdrExpectedID makes the server look for a key and then refuse the message, as no
	// message has this one.
	hdrExpectedID = "Nats-Expected-Last-Msg-Id"
	neverAnID     = "rivulet:none"
)

// PublishAtomic stores all messages, in the given order, or none; none is scheduled.
// They must be of one stream: of one channel, or a namespace with one partition. Where
// all were stored before under their keys, the receipts are duplicates. A
// *fanout.BatchError wraps what kept them from being stored, one of Publish's errors,
// or fanout.ErrNotAtomic.
func (b *Broker) PublishAtomic(ctx context.Context, ps []*fanout.Publication) ([]fanout.Receipt, error) {
	sends, err := b.prepareBatch(ctx, ps)
	if err == nil {
		err = b.enter(ctx, ps[0])
	}
	if err != nil {
		b.met.publishedAll(len(ps), nil, err)
		return nil, err
	}
	receipts, err := b.storeBatch(ctx, sends)
	b.pub.window.release(ps[0].Channel.Namespace())
	b.met.inFlight.Dec()
	b.met.publishedAll(len(ps), receipts, err)
	return receipts, err
}

// prepareBatch checks the messages, each by itself and against each other.
func (b *Broker) prepareBatch(ctx context.Context, ps []*fanout.Publication) ([]*sending, error) {
	sends := make([]*sending, len(ps))
	keys := map[string]bool{}
	seen := map[fanout.Channel]bool{}
	for i, p := range ps {
		at := func(err error) error { return &fanout.BatchError{Index: i, Err: err} }
		ns, err := b.accept(ctx, p)
		if err != nil {
			return nil, at(err)
		}
		s := &sending{pub: b.pub, met: b.met, stream: ns.home(p.Channel), p: p, sent: time.Now()}
		switch {
		case p.DeliverAt != 0:
			return nil, at(&fanout.InputError{Field: "deliver_at", Problem: "cannot be given in an atomic batch, which is stored now"})
		case p.Channel != ps[0].Channel && (p.Channel.Namespace() != ps[0].Channel.Namespace() || ns.layout.Partitions > 1):
			return nil, at(fmt.Errorf("publish to %s: %w", p.Channel, fanout.ErrNotAtomic))
		case p.Expected != nil && seen[p.Channel]:
			return nil, at(&fanout.InputError{Field: "expected_offset", Problem: "is only for the first message of a channel in an atomic batch"})
		}
		if s.msg, err = encode(p, s.stream.filter(p.Channel), ns.spec.MaxAge); err == nil {
			err = b.prepare(ctx, s)
		}
		if err != nil {
			return nil, at(err)
		}
		if id := first(s.msg.Header, hdrMsgID); id != "" {
			if keys[id] {
				return nil, at(&fanout.InputError{Field: "idempotency_key", Problem: "is that of an earlier message of the batch"})
			}
			keys[id] = true
			s.retry = s.sent.Add(ns.spec.DuplicateWindow * 3 / 4)
		}
		seen[p.Channel], sends[i] = true, s
	}
	return sends, allOrNoKeys(sends)
}

// allOrNoKeys refuses a batch some of whose messages have a key: a repetition of it
// could not be told from another batch.
func allOrNoKeys(sends []*sending) error {
	keyed := func(s *sending) bool { return !s.retry.IsZero() }
	i := slices.IndexFunc(sends, func(s *sending) bool { return !keyed(s) })
	if i < 0 || !slices.ContainsFunc(sends, keyed) {
		return nil
	}
	return &fanout.BatchError{Index: i, Err: &fanout.InputError{
		Field: "idempotency_key", Problem: "is missing, and other messages have one; in an atomic batch give every message one, or none",
	}}
}

func (b *Broker) storeBatch(ctx context.Context, sends []*sending) ([]fanout.Receipt, error) {
	for {
		ack, err := b.commitBatch(ctx, sends)
		if err != nil {
			return nil, unknownBatch(sends, err)
		}
		if ack.Error == nil {
			return b.batchReceipts(ctx, sends, ack.Seq)
		}
		switch ack.Error.ErrCode {
		case codeBatchDuplicate:
			return b.repeatedBatch(ctx, sends)
		case codeWrongLast:
			return b.refusedBatch(ctx, sends, ack.Error)
		case codeDuplicateInFlight, codeWrongLastBusy:
			if err := pause(ctx, conflictWait); err != nil {
				return nil, &fanout.BatchError{Index: -1, Err: fmt.Errorf("%w: %w", fanout.ErrTooBusy, err)}
			}
			continue
		}
		certain, err := refusal(ack.Error)
		if !certain {
			return nil, unknownBatch(sends, err)
		}
		return nil, &fanout.BatchError{Index: -1, Err: err}
	}
}

// unknownBatch is the error where no acknowledgement came: a retry is safe only if
// every message has a key.
func unknownBatch(sends []*sending, err error) error {
	if errors.Is(err, errBatchUnsent) || errors.Is(err, fanout.ErrUnavailable) {
		return &fanout.BatchError{Index: -1, Err: unavailable("publish a batch", err)}
	}
	until := sends[0].retry
	for _, s := range sends {
		if s.retry.IsZero() || s.retry.Before(until) {
			until = s.retry
		}
	}
	return &fanout.BatchError{Index: -1, Err: &fanout.OutcomeUnknownError{RetryUntil: until, Cause: err}}
}

func (b *Broker) batchReceipts(ctx context.Context, sends []*sending, last uint64) ([]fanout.Receipt, error) {
	receipts := make([]fanout.Receipt, len(sends))
	for i, s := range sends {
		r, err := b.receipt(ctx, s, pubAck{Seq: last - uint64(len(sends)-1-i)})
		if err != nil {
			return nil, &fanout.BatchError{Index: i, Err: err}
		}
		receipts[i] = r
	}
	return receipts, nil
}

// errNoKeyKnown: nothing was stored under any key of a batch within the window.
var errNoKeyKnown = errors.New("broker: no key of the batch is known")

// repeatedBatch judges a batch in which a key was used before: either all of it was
// stored before, or it is none that can be stored.
func (b *Broker) repeatedBatch(ctx context.Context, sends []*sending) ([]fanout.Receipt, error) {
	receipts := make([]fanout.Receipt, len(sends))
	fault, stored := -1, 0
	for i, s := range sends {
		seq, found, err := b.byKey(ctx, s)
		if err != nil {
			return nil, unknownBatch(sends, err)
		}
		if !found {
			continue
		}
		stored++
		if fault < 0 {
			fault = i
		}
		if receipts[i], err = b.duplicateReceipt(ctx, s, seq); err != nil {
			return nil, &fanout.BatchError{Index: i, Err: err}
		}
	}
	if stored == len(sends) {
		return receipts, nil
	}
	if fault < 0 { // or forgotten between the two requests: asked again, it is stored
		return nil, &fanout.BatchError{Index: -1, Err: fmt.Errorf("%w: %w", fanout.ErrTooBusy, errNoKeyKnown)}
	}
	return nil, &fanout.BatchError{Index: fault, Err: fmt.Errorf("%w: with other messages than those of this batch", fanout.ErrKeyConflict)}
}

// byKey looks for the message that was stored under the key of s, within the
// namespace's window. It stores nothing: no message's key is what it expects.
func (b *Broker) byKey(ctx context.Context, s *sending) (seq uint64, found bool, err error) {
	if s.msg.Header[hdrMsgID] == nil {
		return 0, false, nil
	}
	b.met.reads.WithLabelValues(readReceipt).Inc()
	m := &nats.Msg{Subject: s.msg.Subject, Header: nats.Header{
		hdrMsgID: s.msg.Header[hdrMsgID], hdrExpectedID: {neverAnID},
	}}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
	defer cancel()
	reply, err := b.ctl.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, false, err
	}
	ack, err := parseAck(reply.Data)
	switch {
	case err != nil:
		return 0, false, err
	case ack.Error == nil && ack.Duplicate:
		return ack.Seq, true, nil
	case ack.Error != nil && ack.Error.ErrCode == codeWrongLastID:
		return 0, false, nil
	case ack.Error != nil:
		return 0, false, ack.Error
	}
	return 0, false, fmt.Errorf("%w: the look-up of a key was stored at %d", errMalformed, ack.Seq)
}

// refusedBatch judges a batch with an expectation that was refused: it may be the
// repetition of one that was stored; else it finds the message at fault.
func (b *Broker) refusedBatch(ctx context.Context, sends []*sending, refused *apiError) ([]fanout.Receipt, error) {
	if !sends[0].retry.IsZero() { // all have keys, or none has
		receipts, err := b.repeatedBatch(ctx, sends)
		if !errors.Is(err, errNoKeyKnown) {
			return receipts, err
		}
	}
	for i, s := range sends {
		if s.p.Expected == nil {
			continue
		}
		last, _, err := b.get(ctx, s.stream, getRequest{Last: s.msg.Subject})
		if err == nil && last.seq != *s.p.Expected {
			return nil, &fanout.BatchError{Index: i, Err: &fanout.ExpectedOffsetError{Last: last.seq}}
		}
	}
	return nil, &fanout.BatchError{Index: -1, Err: unexpected(refused)}
}

// settled judges a refused expectation of a message with a key: a server that stands
// alone looks at the expectation before the key, and so refuses the repetition of a
// message that it has.
func (b *Broker) settled(ctx context.Context, s *sending, refused error) (fanout.Receipt, error) {
	seq, found, err := b.byKey(ctx, s)
	switch {
	case err != nil:
		return fanout.Receipt{}, fmt.Errorf("publish to %s: look for the first: %w", s.p.Channel, s.unknown(err))
	case !found:
		return fanout.Receipt{}, fmt.Errorf("publish to %s: %w", s.p.Channel, refused)
	}
	return b.duplicateReceipt(ctx, s, seq)
}
