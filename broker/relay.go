package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/migrations"
)

// relaySubject is where nodes report who is subscribed, by partition. Nothing of it is
// stored.
const relaySubject = "ctl.subscribers."

var (
	_ webhook.Relay  = (*Events)(nil)
	_ webhook.Ledger = (*Events)(nil)
)

// Report implements webhook.Relay. The error wraps fanout.ErrUnavailable.
func (e *Events) Report(ctx context.Context, partition int, report []byte) ([]byte, error) {
	m, err := e.link.nc.RequestWithContext(ctx, relaySubject+strconv.Itoa(partition), report)
	if err != nil {
		return nil, unavailable("report subscribers", err)
	}
	return m.Data, nil
}

// Serve implements webhook.Relay.
func (e *Events) Serve(ctx context.Context, partition int, answer func([]byte) []byte) error {
	sub, err := e.link.nc.Subscribe(relaySubject+strconv.Itoa(partition), func(m *nats.Msg) {
		if ctx.Err() == nil && m.Reply != "" {
			_ = m.Respond(answer(m.Data)) // what is lost is reported again
		}
	})
	if err != nil {
		return unavailable("take reports of subscribers", err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // only fails where the connection is closed
	return nil
}

// Recall implements webhook.Ledger.
func (e *Events) Recall(ctx context.Context, partition int) ([]webhook.Fact, error) {
	var facts []webhook.Fact
	for from := uint64(1); ; {
		req := getRequest{Seq: from, Next: migrations.OccupancyAll(partition), Batch: batchMost, MaxBytes: batchBytes}
		call := &getCall{multi: true, done: make(chan struct{})}
		out, err := e.b.send(ctx, e.b.replay[0], apiPrefix+"DIRECT.GET."+migrations.OccupancyStream, req, call)
		if err != nil {
			return nil, unavailable("read who was subscribed", err)
		}
		for _, m := range out.list {
			from = m.seq + 1
			f := webhook.Fact{Revision: m.seq}
			if len(m.data) == 0 {
				continue // the server's marker of one that has expired
			}
			if err := json.Unmarshal(m.data, &f); err != nil {
				return nil, fmt.Errorf("read who was subscribed: %w: at %d: %w", errMalformed, m.seq, err)
			}
			facts = append(facts, f)
		}
		if out.pending == 0 {
			return facts, nil
		}
	}
}

// Record implements webhook.Ledger.
func (e *Events) Record(ctx context.Context, partition int, facts []*webhook.Fact) error {
	acks := make([]jetstream.PubAckFuture, len(facts))
	for i, f := range facts {
		data, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("record who is subscribed: %w", err)
		}
		m := &nats.Msg{Subject: migrations.OccupancySubject(partition, f.Channel, f.Member), Data: data}
		opts := []jetstream.PublishOpt{jetstream.WithStallWait(apiTimeout)}
		if !f.Present {
			opts = append(opts, jetstream.WithMsgTTL(webhook.FactTTL))
		}
		if acks[i], err = e.js.PublishMsgAsync(m, opts...); err != nil {
			return unavailable("record who is subscribed", err)
		}
	}
	wait := time.NewTimer(apiTimeout)
	defer wait.Stop()
	for i, ack := range acks {
		select {
		case ok := <-ack.Ok():
			facts[i].Revision = ok.Sequence
		case err := <-ack.Err():
			return unavailable("record who is subscribed", err)
		case <-ctx.Done():
			return unavailable("record who is subscribed", ctx.Err())
		case <-wait.C:
			return unavailable("record who is subscribed", errNoAck)
		}
	}
	return nil
}
