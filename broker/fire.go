package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// chainTries is how often a message that must follow on what was read is tried
	// while others publish to its channel.
	chainTries = 20
	// chainSlack is how far before its time a message is looked for that may have been
	// stored by another node, whose clock may be ahead.
	chainSlack = 10 * time.Second
	// dropsAtOnce is how many schedules are removed at a time.
	dropsAtOnce = 8
)

// due is one scheduled message on its way to its channel.
type due struct {
	entry dueEntry
	what  fanout.Scheduled
	err   error // nil: it is in its channel

	messageID string
}

// storeDue stores a batch of messages that are due in their channels and then removes
// their schedules; what comes in between, a crash as well, leaves the schedule, and so
// storing begins again, which must find what is stored. It returns what is to be tried
// again.
func (b *Broker) storeDue(ctx context.Context, entries []dueEntry) (again []dueEntry) {
	list := make([]*due, 0, len(entries))
	for _, e := range entries {
		m, found, err := b.waiting(ctx, getRequest{Seq: e.seq})
		if err != nil {
			again = append(again, e)
			continue
		}
		if !found {
			continue // cancelled
		}
		s, ok := decodeSchedule(m)
		id, known := parseSchedule(s.ID)
		if ok && known {
			list = append(list, &due{entry: e, what: s, messageID: encodeID(id)})
		}
	}
	b.storeFresh(ctx, list)
	for _, d := range list {
		if errors.Is(d.err, errLate) {
			d.err = b.storeLate(ctx, d)
		}
	}
	return append(again, b.settle(ctx, list)...)
}

// errLate: the namespace may have forgotten the message's key.
var errLate = errors.New("broker: due for longer than keys are remembered")

// storeFresh stores together what is due for so short a time that the namespace still
// remembers the key of whoever stored it first.
func (b *Broker) storeFresh(ctx context.Context, list []*due) {
	sends := make([]*sending, len(list))
	for i, d := range list {
		sends[i], d.err = b.startDue(ctx, d, nil)
	}
	for i, d := range list {
		if d.err == nil {
			var r fanout.Receipt
			r, d.err = b.await(ctx, sends[i])
			b.met.published(r, d.err)
		}
	}
}

// startDue sends a message that is due. Without expected it is late if the key may be
// forgotten.
func (b *Broker) startDue(ctx context.Context, d *due, expected *uint64) (*sending, error) {
	p := *d.what.Publication
	at := time.Unix(0, p.DeliverAt)
	p.DeliverAt, p.Expected = 0, expected
	ns, err := b.namespace(ctx, p.Channel.Namespace())
	if err != nil {
		return nil, err
	}
	if expected == nil && time.Since(at) > ns.spec.DuplicateWindow/2 {
		return nil, errLate
	}
	return b.start(ctx, &p, func(m *nats.Msg) {
		if m.Header == nil {
			m.Header = nats.Header{}
		}
		m.Header[hdrMsgID] = []string{d.messageID}
		m.Header[hdrSchedule] = []string{d.what.ID}
	})
}

// storeLate stores a message that another attempt, long ago, may have stored: it looks
// for it in the channel, and stores it only if the channel still ends where it looked.
func (b *Broker) storeLate(ctx context.Context, d *due) error {
	c := d.what.Publication.Channel
	ns, err := b.namespace(ctx, c.Namespace())
	if err != nil {
		return err
	}
	s := ns.home(c)
	from, err := b.seekSince(ctx, s, s.filter(c), d.what.Publication.DeliverAt-int64(chainSlack))
	for try := 0; try < chainTries && err == nil; try++ {
		var stored bool
		var end uint64
		if stored, end, err = b.lookForSchedule(ctx, s, c, from, d.what.ID); stored || err != nil {
			return err
		}
		var sent *sending
		if sent, err = b.startDue(ctx, d, &end); err == nil {
			var r fanout.Receipt
			r, err = b.await(ctx, sent)
			b.met.published(r, err)
		}
		if !errors.Is(err, fanout.ErrExpectedOffset) {
			return err
		}
		from, err = end, nil
	}
	if err == nil {
		err = fmt.Errorf("store what is due in %s: %w: the channel is too busy", c, fanout.ErrTooBusy)
	}
	return err
}

// lookForSchedule reads the channel after an offset and reports whether a message that
// waited under the ID is there, and the offset at which the channel ends.
func (b *Broker) lookForSchedule(ctx context.Context, s *stream, c fanout.Channel, from uint64, id string) (stored bool, end uint64, err error) {
	end = from
	for {
		part, err := b.readBatch(ctx, s, s.filter(c), end, batchMost)
		if err != nil {
			return false, 0, err
		}
		for _, m := range part.list {
			if end = m.seq; first(m.header, hdrSchedule) == id {
				return true, end, nil
			}
		}
		if part.pending > 0 {
			continue
		}
		last, found, err := b.get(ctx, s, getRequest{Last: s.filter(c)})
		if err != nil || !found || last.seq <= end {
			return false, last.seq, err
		}
	}
}

// settle removes the schedules of what is stored, or never can be, and returns what is
// to be tried again.
func (b *Broker) settle(ctx context.Context, list []*due) (again []dueEntry) {
	var group errgroup.Group
	group.SetLimit(dropsAtOnce)
	dropped := make([]error, len(list))
	for i, d := range list {
		if b.fired(d) {
			group.Go(func() error {
				_, dropped[i] = b.drop(ctx, migrations.ScheduleStream, d.entry.seq, false)
				return nil
			})
		}
	}
	_ = group.Wait() // its functions return nil
	for i, d := range list {
		if dropped[i] == nil && final(d.err) {
			continue
		}
		if errors.Is(d.err, fanout.ErrUnknownNamespace) { // until it is configured again
			d.entry.at = time.Now().Add(timerLook * 30).UnixNano()
		}
		again = append(again, d.entry)
	}
	return again
}

// fired counts an attempt, and reports whether it was the last.
func (b *Broker) fired(d *due) bool {
	switch {
	case d.err == nil:
		b.met.fired.WithLabelValues(firedStored).Inc()
		b.met.lateSeconds.Observe(time.Since(time.Unix(0, d.what.Publication.DeliverAt)).Seconds())
		return true
	case final(d.err):
		b.met.fired.WithLabelValues(firedDropped).Inc()
		b.log.Warn("a scheduled message is dropped, as its channel refuses it",
			slog.String("schedule", d.what.ID), slog.Any("err", d.err))
		return true
	}
	b.met.fired.WithLabelValues(firedRetried).Inc()
	b.log.Debug("a scheduled message is tried again", slog.String("schedule", d.what.ID), slog.Any("err", d.err))
	return false
}

// final reports whether another attempt would end no better: the message is stored, or
// is one that its channel never takes.
func final(err error) bool {
	if err == nil {
		return true
	}
	if _, bad := errors.AsType[*fanout.InputError](err); bad {
		return true
	}
	for _, refused := range []error{fanout.ErrTooLarge, fanout.ErrNoMessage, fanout.ErrKeyConflict} {
		if errors.Is(err, refused) {
			return true
		}
	}
	return false
}

// samePublication compares the content of two messages that are not stored yet.
func samePublication(a, b *fanout.Publication) bool {
	return a.Channel == b.Channel && a.Binary == b.Binary && bytes.Equal(a.Data, b.Data) && maps.Equal(a.Headers, b.Headers) &&
		a.ConflationKey == b.ConflationKey && a.Updates == b.Updates && a.TTL == b.TTL
}
