package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
)

// world is what engines share, in memory: whose clock a test may have in its hands.
type world struct {
	mu       sync.Mutex // guards the following
	events   []webhook.Event
	ids      map[string]bool
	facts    [webhook.Partitions][]webhook.Fact
	told     [webhook.Partitions]uint64
	revision uint64
	serving  [webhook.Partitions]func([]byte) []byte
	reports  []int // their sizes
	used     float64
	reg      *prometheus.Registry // of the engine that was started last
	refuse   bool                 // events
}

func newWorld() *world { return &world{ids: map[string]bool{}} }

// engine starts one; a leader has all leases.
func (w *world) engine(tb testing.TB, name string, leader bool, log *slog.Logger) *webhook.Engine {
	tb.Helper()
	cfg := webhook.DefaultConfig()
	cfg.Node = name
	cfg.Hooks = []webhook.Hook{hook(tb, "a", "http://127.0.0.1:1/", webhook.ChannelOccupied, webhook.ChannelVacated, webhook.MemberJoined, webhook.MemberLeft)}
	w.reg = prometheus.NewRegistry()
	e := webhook.New(cfg, webhook.Services{Log: w, Leases: fakeLeases(leader), Relay: w, Ledger: w}, log, w.reg)
	e.Start(tb.Context())
	return e
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) gauge(tb testing.TB, name string) float64 {
	tb.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	tb.Fatalf("there is no metric %s", name)
	return 0
}

func (w *world) types(channel string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return types(w.events, channel)
}

type fakeLeases bool

func (l fakeLeases) Lead(ctx context.Context, n int, work func(context.Context, int), _ func(int) []byte) {
	var wg sync.WaitGroup
	for task := range n {
		if l {
			wg.Go(func() { work(ctx, task) })
		}
	}
	wg.Wait()
}

func (l fakeLeases) Notes(_ context.Context, n int) ([][]byte, error) { return make([][]byte, n), nil }

func (w *world) WriteEvents(_ context.Context, list []webhook.Record) ([]bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse {
		return nil, fanout.ErrDiskFull
	}
	fresh := make([]bool, len(list))
	for i, r := range list {
		var e webhook.Event
		if err := json.Unmarshal(r.Data, &e); err != nil {
			return nil, err
		}
		if fresh[i] = !w.ids[r.ID]; fresh[i] {
			w.ids[r.ID] = true
			w.events = append(w.events, e)
		}
	}
	return fresh, nil
}

// emptyReader never has anything: what is told is seen as it is written.
type emptyReader struct{}

func (emptyReader) Fetch(ctx context.Context, _ int) ([]webhook.Item, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (emptyReader) Ack(context.Context, webhook.Item) error { return nil }
func (emptyReader) Pending(context.Context) (uint64, error) { return 0, nil }
func (w *world) ReadEvents(context.Context, int, string) (webhook.Reader, error) {
	return emptyReader{}, nil
}

func (w *world) ReadMessages(context.Context, fanout.StreamID, fanout.Channel, string) (webhook.Reader, error) {
	return emptyReader{}, nil
}

func (w *world) Locate(context.Context, fanout.Channel) ([]fanout.StreamID, error) { return nil, nil }

var errNobody = errors.New("nobody has the partition")

func (w *world) Report(_ context.Context, p int, report []byte) ([]byte, error) {
	w.mu.Lock()
	answer := w.serving[p]
	w.reports = append(w.reports, len(report))
	w.mu.Unlock()
	if answer == nil {
		return nil, errNobody
	}
	if len(report) > 1<<20 {
		return nil, fmt.Errorf("a report of %d bytes is too large", len(report))
	}
	return answer(bytes.Clone(report)), nil
}

func (w *world) Serve(ctx context.Context, p int, answer func([]byte) []byte) error {
	set := func(f func([]byte) []byte) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.serving[p] = f
	}
	set(answer)
	<-ctx.Done()
	set(nil)
	return nil
}

func (w *world) Recall(_ context.Context, p int) ([]webhook.Fact, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.facts[p]), w.told[p], nil
}

func (w *world) Record(_ context.Context, p int, facts []*webhook.Fact) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range facts {
		w.revision++
		f.Revision = w.revision
		kept := *f
		if w.facts[p] = append(w.facts[p], kept); !f.Present {
			w.facts[p][len(w.facts[p])-1].Who = nil
		}
	}
	return nil
}

func (w *world) Told(_ context.Context, p int, revision uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[p] = revision
	return nil
}

func (w *world) Used(context.Context) (float64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used, nil
}
