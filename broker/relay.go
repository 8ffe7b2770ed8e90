package broker

import (
	"bytes"
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
func (e *Events) Recall(ctx context.Context, partition int) (facts []webhook.Fact, told uint64, err error) {
	marker := migrations.OccupancyTold(partition)
	for from := uint64(1); ; {
		req := getRequest{Seq: from, Next: migrations.OccupancyAll(partition), Batch: batchMost, MaxBytes: batchBytes}
		call := &getCall{multi: true, done: make(chan struct{})}
		out, err := e.b.send(ctx, e.b.replay[0], apiPrefix+"DIRECT.GET."+migrations.OccupancyStream, req, call)
		if err != nil {
			return nil, 0, unavailable("read who was subscribed", err)
		}
		for _, m := range out.list {
			from = m.seq + 1
			f := webhook.Fact{Revision: m.seq}
			switch {
			case len(m.data) == 0: // the server's marker of one that has expired
				continue
			case m.subject == marker:
				mark := toldMark{}
				err = json.Unmarshal(m.data, &mark)
				told = mark.Told
			default:
				if err = json.Unmarshal(m.data, &f); err == nil {
					facts = append(facts, f)
				}
			}
			if err != nil {
				return nil, 0, fmt.Errorf("read who was subscribed: %w: at %d: %w", errMalformed, m.seq, err)
			}
		}
		if out.pending == 0 {
			return facts, told, nil
		}
	}
}

// Record implements webhook.Ledger.
func (e *Events) Record(ctx context.Context, partition int, facts []*webhook.Fact) error {
	acks := make([]jetstream.PubAckFuture, len(facts))
	for i, f := range facts {
		data, err := encodeFact(f)
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

// encodeFact keeps a fact short: who is gone has left nothing but a name, and nothing is
// escaped that need not be.
func encodeFact(f *webhook.Fact) ([]byte, error) {
	short := *f
	if !f.Present {
		short.Who = nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(&short)
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}

// toldMark is what is remembered of Told; earlier versions read a fact that says nothing.
type toldMark struct {
	Told uint64 `json:"told"`
}

// Told implements webhook.Ledger.
func (e *Events) Told(ctx context.Context, partition int, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	data, err := json.Marshal(toldMark{Told: revision})
	if err != nil {
		return err
	}
	if _, err := e.js.PublishMsg(ctx, &nats.Msg{Subject: migrations.OccupancyTold(partition), Data: data}); err != nil {
		return unavailable("remember what was told", err)
	}
	return nil
}

// Used implements webhook.Ledger.
func (e *Events) Used(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := e.js.Stream(ctx, migrations.OccupancyStream)
	if err != nil {
		return 0, unavailable("look at who was subscribed", err)
	}
	info := s.CachedInfo()
	return float64(info.State.Bytes) / float64(max(info.Config.MaxBytes, 1)), nil
}
