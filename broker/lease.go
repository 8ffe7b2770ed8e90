package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// leaseRetry is how often a node tries to get a lease that another has.
	leaseRetry = 500 * time.Millisecond
	// mostLease bounds what is written into a lease: all of them lie in one small bucket,
	// and a lease that cannot be written is lost.
	mostLease = 64 << 10
	// firstNote is after how long a holder writes its first note.
	firstNote = 300 * time.Millisecond
)

// leaseValue is what the holder of a lease writes into it.
type leaseValue struct {
	Node string          `json:"node"`
	Note json.RawMessage `json:"note,omitempty"`
}

func leaseKey(task int) string { return fmt.Sprintf("webhooks.%d", task) }

// Lead implements webhook.Leases. A lease is a key that the server removes unless it is
// written again in time; every write is a compare-and-set. A holder that could not write
// for two thirds of that time stops by its own clock, so that it has stopped when another
// begins.
func (e *Events) Lead(ctx context.Context, n int, work func(context.Context, int), note func(int) []byte) {
	var wg sync.WaitGroup
	for task := range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				h := &holding{e: e, key: leaseKey(task), note: func() []byte { return note(task) }}
				if h.take(ctx) {
					h.hold(ctx, func(ctx context.Context) { work(ctx, task) })
				}
				_ = pause(ctx, leaseRetry)
			}
		})
	}
	wg.Wait()
}

// freeLeases takes leases from earlier processes on this node's own data: they are dead.
func (e *Events) freeLeases(ctx context.Context) error {
	if e.b.srv == nil {
		return nil
	}
	for task := range webhook.Partitions {
		if err := e.lease.Delete(ctx, leaseKey(task)); err != nil {
			return unavailable("free leases", err)
		}
	}
	return nil
}

// holding is one lease of this node.
type holding struct {
	e    *Events
	key  string
	note func() []byte

	revision uint64
	since    time.Time // before the last write that succeeded
}

func (h *holding) value() []byte {
	b, err := json.Marshal(leaseValue{Node: h.e.b.cfg.Node, Note: h.note()})
	if err != nil || len(b) > mostLease { // a note that is no JSON, or too long
		b, _ = json.Marshal(leaseValue{Node: h.e.b.cfg.Node})
	}
	return b
}

// take gets the lease if nobody has it.
func (h *holding) take(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if _, err := h.e.lease.Get(ctx, h.key); err == nil {
		return false
	}
	h.since = time.Now()
	revision, err := h.e.lease.Create(ctx, h.key, h.value(), jetstream.KeyTTL(h.e.cfg.LeaseTTL))
	h.revision = revision
	return err == nil
}

// hold runs f while the lease is kept, waits for it, and gives the lease back.
func (h *holding) hold(ctx context.Context, f func(context.Context)) {
	h.e.b.log.Debug("lease taken", slog.String("lease", h.key))
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(ended)
		f(work)
	})
	kept := h.keep(work, ended)
	cancel()
	wg.Wait()
	if !kept {
		h.e.b.log.Warn("lease lost", slog.String("lease", h.key))
		return
	}
	free, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	if err := h.e.lease.Delete(free, h.key, jetstream.LastRevision(h.revision)); err != nil {
		h.e.b.log.Debug("lease is left to expire", slog.String("lease", h.key), slog.Any("err", err))
	}
}

// keep writes the lease again and again until ctx ends or the work has; it returns false
// when the lease is lost.
func (h *holding) keep(ctx context.Context, ended <-chan struct{}) bool {
	ttl := h.e.cfg.LeaseTTL
	tick := time.NewTicker(firstNote)
	defer tick.Stop()
	for {
		lost := time.NewTimer(time.Until(h.since.Add(ttl * 2 / 3)))
		select {
		case <-ctx.Done():
			lost.Stop()
			return true
		case <-ended:
			lost.Stop()
			return true
		case <-lost.C:
			return false
		case <-tick.C:
			lost.Stop()
		}
		tick.Reset(ttl / 3)
		if err := h.renew(ctx); err != nil {
			api, ok := errors.AsType[*jetstream.APIError](err)
			if ok && wrongLast(api) {
				return false
			}
		}
	}
}

func (h *holding) renew(ctx context.Context) error {
	ctx, cancel := context.WithDeadline(ctx, h.since.Add(h.e.cfg.LeaseTTL*2/3))
	defer cancel()
	at := time.Now()
	m := &nats.Msg{Subject: migrations.LeasesPrefix + h.key, Data: h.value()}
	ack, err := h.e.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(h.revision), jetstream.WithMsgTTL(h.e.cfg.LeaseTTL))
	if err != nil {
		return err
	}
	h.revision, h.since = ack.Sequence, at
	return nil
}

// Notes implements webhook.Leases.
func (e *Events) Notes(ctx context.Context, n int) ([][]byte, error) {
	notes := make([][]byte, n)
	for task := range n {
		entry, err := e.lease.Get(ctx, leaseKey(task))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return nil, unavailable("read leases", err)
		}
		var v leaseValue
		if json.Unmarshal(entry.Value(), &v) == nil {
			notes[task] = v.Note
		}
	}
	return notes, nil
}
