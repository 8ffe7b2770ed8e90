package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// namespace is the one that most tests use: one partition, so that a test knows
// the offsets.
const namespace = "t"

// config is of a small embedded broker with one namespace of one partition.
func config(tb testing.TB, change ...func(*broker.Config)) broker.Config {
	tb.Helper()
	cfg := broker.DefaultConfig()
	cfg.Data = tb.TempDir()
	cfg.DiskBudget = 1 << 30
	cfg.FeedBuffer = 1 << 12
	cfg.Namespaces = []broker.NamespaceSpec{{Name: namespace, Partitions: 1, MaxBytes: 64 << 20}}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

// open starts a broker that the test's end closes.
func open(tb testing.TB, cfg broker.Config) *broker.Broker {
	tb.Helper()
	b, err := broker.Open(tb.Context(), cfg, slog.New(slog.NewTextHandler(logWriter{tb}, &slog.HandlerOptions{Level: slog.LevelWarn})), prometheus.NewRegistry())
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	tb.Cleanup(func() { closeNow(tb, b) })
	return b
}

func closeNow(tb testing.TB, b *broker.Broker) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		tb.Errorf("close: %v", err)
	}
}

type logWriter struct{ tb testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.tb.Logf("%s", p[:len(p)-1])
	return len(p), nil
}

func channel(tb testing.TB, s string) fanout.Channel {
	tb.Helper()
	c, err := fanout.ParsePattern(s)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func publication(tb testing.TB, ch, data string) *fanout.Publication {
	tb.Helper()
	return &fanout.Publication{Channel: channel(tb, ch), Data: []byte(data)}
}

func publish(tb testing.TB, b *broker.Broker, ch, data string) fanout.Position {
	tb.Helper()
	r, err := b.Publish(tb.Context(), publication(tb, ch, data))
	if err != nil {
		tb.Fatalf("publish to %s: %v", ch, err)
	}
	return r.Position
}

// publishMany stores n messages with the data from, from+1, ...
func publishMany(tb testing.TB, b *broker.Broker, ch string, from, n int) []fanout.Position {
	tb.Helper()
	list := make([]*fanout.Publication, n)
	for i := range list {
		list[i] = publication(tb, ch, fmt.Sprint(from+i))
	}
	out := make([]fanout.Position, n)
	for i, o := range b.PublishAll(tb.Context(), list) {
		if o.Err != nil {
			tb.Fatalf("publish %d to %s: %v", from+i, ch, o.Err)
		}
		out[i] = o.Receipt.Position
	}
	return out
}

func source(tb testing.TB, b *broker.Broker, ch string) fanout.Source {
	tb.Helper()
	c := channel(tb, ch)
	ids, err := b.Locate(tb.Context(), c)
	if err != nil {
		tb.Fatalf("locate %s: %v", ch, err)
	}
	return fanout.Source{Stream: ids[0], Filter: c}
}

func read(tb testing.TB, b *broker.Broker, q fanout.Query) fanout.Batch {
	tb.Helper()
	batch, err := b.Read(tb.Context(), q)
	if err != nil {
		tb.Fatalf("read: %v", err)
	}
	return batch
}

// judge reads everything of a channel after x and lets fanout.Complete decide.
func judge(tb testing.TB, b *broker.Broker, ch string, x fanout.Position) (data []string, ok bool, reason string, ev fanout.Evidence) {
	tb.Helper()
	q := fanout.Query{Source: source(tb, b, ch), After: x.Offset, Limit: 100, Prove: x}
	for {
		batch := read(tb, b, q)
		data = append(data, texts(batch.Messages)...)
		ok, reason = fanout.Complete(x, batch.Evidence)
		if !batch.More {
			return data, ok, reason, batch.Evidence
		}
		q.After = batch.Messages[len(batch.Messages)-1].Offset()
	}
}

func texts(list []*fanout.Message) (data []string) {
	for _, m := range list {
		data = append(data, string(m.Data))
	}
	return data
}

// hub records what the feed tells it, in order.
type hub struct {
	mu     sync.Mutex // guards the following
	events []event
	grown  chan struct{} // closed and replaced when an event comes
}

// event is a message or a suspicion.
type event struct {
	msg     *fanout.Message
	suspect fanout.StreamID
}

func newHub() *hub { return &hub{grown: make(chan struct{})} }

func (h *hub) Dispatch(m *fanout.Message) { h.add(event{msg: m}) }
func (h *hub) Suspect(id fanout.StreamID) { h.add(event{suspect: id}) }
func (h *hub) snapshot() ([]event, chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clip(h.events), h.grown
}

func (h *hub) add(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	close(h.grown)
	h.grown = make(chan struct{})
}

// wait returns the events once good is true of them.
func (h *hub) wait(tb testing.TB, what string, good func([]event) bool) []event {
	tb.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		events, grown := h.snapshot()
		if good(events) {
			return events
		}
		select {
		case <-grown:
		case <-deadline.C:
			tb.Fatalf("waited in vain for %s; got %d events", what, len(events))
		}
	}
}

func started(tb testing.TB, b *broker.Broker) *hub {
	tb.Helper()
	h := newHub()
	if err := b.Start(h); err != nil {
		tb.Fatalf("start: %v", err)
	}
	return h
}

func messages(events []event) (list []*fanout.Message) {
	for _, e := range events {
		if e.msg != nil {
			list = append(list, e.msg)
		}
	}
	return list
}

// eventually polls until good is true.
func eventually(tb testing.TB, what string, good func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for !good() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}
