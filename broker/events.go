package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// EventsConfig says how the events of webhooks are kept.
type EventsConfig struct {
	// MaxAge is how long an event waits for its webhooks.
	MaxAge time.Duration
	// MaxBytes of all events; over it the oldest are discarded.
	MaxBytes int64
	// LeaseTTL is after how long without a sign of life another node takes over what a
	// node did for webhooks; at least a second, in whole seconds.
	LeaseTTL time.Duration
}

// DefaultEventsConfig returns the defaults.
func DefaultEventsConfig() EventsConfig {
	return EventsConfig{MaxAge: 72 * time.Hour, MaxBytes: 64 << 20, LeaseTTL: 9 * time.Second}
}

// Events is the log of the events of webhooks, with the leases of those who deliver
// them. They have a connection of their own, which is opened with them: a node without
// webhooks has none.
type Events struct {
	b     *Broker
	cfg   EventsConfig
	link  *link
	js    jetstream.JetStream
	lease jetstream.KeyValue
}

var (
	_ webhook.Log    = (*Events)(nil)
	_ webhook.Leases = (*Events)(nil)
)

// Both packages divide the events in the same way.
var _ [webhook.Partitions]struct{} = [migrations.EventPartitions]struct{}{}

// eventsAtOnce is how many events are written at a time.
const eventsAtOnce = 64

// OpenEvents connects, and brings the limits of the events' streams to what cfg says.
// It is called at most once, before the node is ready. The broker's Close closes it.
func (b *Broker) OpenEvents(ctx context.Context, cfg EventsConfig) (*Events, error) {
	l, err := b.open1(ctx, "events", nil)
	if err != nil {
		return nil, err
	}
	e := &Events{b: b, cfg: cfg, link: l}
	if e.js, err = jetstream.New(l.nc); err != nil {
		return nil, fmt.Errorf("broker: events: %w", err)
	}
	spec := migrations.EventsSpec{Replicas: b.cfg.Replicas, MaxAge: cfg.MaxAge, MaxBytes: cfg.MaxBytes}
	if err := migrations.EnsureEvents(ctx, e.js, spec, b.cfg.Node); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if e.lease, err = e.js.KeyValue(ctx, migrations.LeasesBucket); err != nil {
		return nil, fmt.Errorf("broker: leases: %w", err)
	}
	return e, e.freeLeases(ctx)
}

// Locate implements webhook.Log.
func (e *Events) Locate(ctx context.Context, c fanout.Channel) ([]fanout.StreamID, error) {
	return e.b.Locate(ctx, c)
}

// WriteEvents implements webhook.Log. Events of one partition are written in order,
// partitions at the same time. Errors wrap fanout.ErrDiskFull or fanout.ErrUnavailable.
func (e *Events) WriteEvents(ctx context.Context, list []webhook.Record) ([]bool, error) {
	if err := e.b.disk.refusal(); err != nil {
		return nil, fmt.Errorf("write events: %w", err)
	}
	var parts [migrations.EventPartitions][]int // places in the list
	for i, r := range list {
		p := migrations.EventPartition(r.Key)
		parts[p] = append(parts[p], i)
	}
	fresh := make([]bool, len(list))
	group, ctx := errgroup.WithContext(ctx)
	for p, part := range parts {
		if len(part) > 0 {
			group.Go(func() error { return e.writePart(ctx, p, list, part, fresh) })
		}
	}
	return fresh, group.Wait()
}

// writePart sends up to eventsAtOnce events before it waits for their acknowledgements.
func (e *Events) writePart(ctx context.Context, p int, list []webhook.Record, part []int, fresh []bool) error {
	for chunk := range slices.Chunk(part, eventsAtOnce) {
		acks := make([]jetstream.PubAckFuture, len(chunk))
		for i, at := range chunk {
			m := &nats.Msg{Subject: migrations.EventSubject(p, list[at].ID), Data: list[at].Data}
			// The subject is the event's own: a second one of the same ID is refused, for as
			// long as the first is stored.
			ack, err := e.js.PublishMsgAsync(m, jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithStallWait(apiTimeout))
			if err != nil {
				return unavailable("write events", err)
			}
			acks[i] = ack
		}
		for i, at := range chunk {
			var err error
			if fresh[at], err = awaitEvent(ctx, acks[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitEvent reports whether the event was new.
func awaitEvent(ctx context.Context, ack jetstream.PubAckFuture) (bool, error) {
	wait := time.NewTimer(apiTimeout)
	defer wait.Stop()
	select {
	case <-ack.Ok():
		return true, nil
	case err := <-ack.Err():
		return false, eventRefusal(err)
	case <-ctx.Done():
		return false, unavailable("write events", ctx.Err())
	case <-wait.C:
		return false, unavailable("write events", errNoAck)
	}
}

func eventRefusal(err error) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case ok && wrongLast(api):
		return nil // it is stored
	case ok && (api.ErrorCode == codeStoreFailed || api.ErrorCode == codeInsufficient || api.ErrorCode == codeStorageExceeded):
		return fmt.Errorf("write events: %w: %w", fanout.ErrDiskFull, err)
	case ok && api.ErrorCode == codeMessageTooLarge:
		return fmt.Errorf("write events: %w: %w", fanout.ErrTooLarge, err)
	}
	return unavailable("write events", err)
}

// wrongLast reports whether a compare-and-set found another sequence.
func wrongLast(e *jetstream.APIError) bool {
	return e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}
