package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

func TestDataDirInUse(t *testing.T) {
	cfg := config(t)
	open(t, cfg)
	_, err := broker.Open(t.Context(), cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if !errors.Is(err, broker.ErrDataDirInUse) || !strings.Contains(err.Error(), cfg.Data) {
		t.Errorf("second on one directory: %v", err)
	}
}

func TestEmbeddedServerRestart(t *testing.T) {
	b := open(t, config(t))
	h := started(t, b)
	x := publish(t, b, "t:a", "1")
	h.wait(t, "the first message", func(e []event) bool { return len(messages(e)) == 1 })
	b.StopServer()
	eventually(t, "publishes to be refused", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "lost"))
		return errors.Is(err, fanout.ErrUnavailable)
	})
	before, _ := h.snapshot()
	if err := b.StartServer(); err != nil {
		t.Fatal(err)
	}
	h.wait(t, "a suspicion", suspectedAfter(len(before)))
	eventually(t, "publishes to be accepted", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "2"))
		return err == nil
	})
	events := h.wait(t, "the feed to go on", func(e []event) bool { return len(messages(e)) == 2 })
	// The suspicion comes before the first message that follows.
	if e := events[len(before)]; e.msg != nil {
		t.Errorf("after the loss the hub first heard of %+v", e.msg)
	}
	eventually(t, "every connection", func() bool { return b.Ready(t.Context()) == nil })
	expect(t, b, "over the restart", "t:a", x, "", "2")
}

// blocking is a hub that lets the queue fill up.
type blocking struct {
	*hub
	gate chan struct{}
}

func (b *blocking) Dispatch(m *fanout.Message) {
	<-b.gate
	b.hub.Dispatch(m)
}

func TestFeedOverflowIsTold(t *testing.T) {
	b := open(t, config(t, func(c *broker.Config) { c.FeedBuffer = 16 }))
	h := &blocking{hub: newHub(), gate: make(chan struct{})}
	if err := b.Start(h); err != nil {
		t.Fatal(err)
	}
	publishMany(t, b, "t:a", 0, 200)
	close(h.gate)
	eventually(t, "the feed to go on", func() bool {
		publish(t, b, "t:a", "end")
		events, _ := h.snapshot()
		list := messages(events)
		return len(list) > 0 && string(list[len(list)-1].Data) == "end"
	})
	// No message that follows a hole comes before the suspicion of it.
	events, _ := h.snapshot()
	next, suspected, holes := uint64(1), false, 0
	for _, e := range events {
		if e.msg == nil {
			suspected = true
			continue
		}
		if e.msg.Offset() != next {
			holes++
			if !suspected {
				t.Errorf("offset %d after %d without a suspicion", e.msg.Offset(), next-1)
			}
		}
		next = e.msg.Offset() + 1
	}
	if holes == 0 {
		t.Error("a queue of 16 lost nothing of 200")
	}
}

func TestPublishOutcomeUnknownWhenContextEnds(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	b := open(t, config(t, connected(r)))
	// A stream that takes messages and does not acknowledge them.
	s := streamOf(t, b, "t:a")
	cfg := s.CachedInfo().Config
	cfg.NoAck = true
	if _, err := b.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{"with a key": "k", "without": ""} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		p := publication(t, "t:a", "1")
		p.Key = key
		_, err := b.Publish(ctx, p)
		cancel()
		unknown, ok := errors.AsType[*fanout.OutcomeUnknownError](err)
		if !ok || !errors.Is(err, fanout.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s: %v", name, err)
		}
		if safe := unknown.RetryUntil.After(time.Now().Add(time.Minute)); safe != (key != "") {
			t.Errorf("%s: retry until %v", name, unknown.RetryUntil)
		}
	}
	// The same where the server goes away meanwhile: at once, not at a timeout.
	errs := make(chan error, 1)
	go func() {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "1"))
		errs <- err
	}()
	eventually(t, "the message to be stored", func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.State.Msgs == 3
	})
	r.stop()
	begun := time.Now()
	if err := <-errs; !errors.Is(err, fanout.ErrOutcomeUnknown) || time.Since(begun) > 3*time.Second {
		t.Errorf("server gone: %v after %v", err, time.Since(begun))
	}
}

func TestPublishToDeletedStream(t *testing.T) {
	b := open(t, config(t))
	publish(t, b, "t:a", "1")
	if err := b.JetStream().DeleteStream(t.Context(), string(source(t, b, "t:a").Stream)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream to be there again", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "2"))
		if err != nil && !errors.Is(err, fanout.ErrUnavailable) {
			t.Fatalf("while the stream is away: %v", err)
		}
		return err == nil
	})
	if got := fmt.Sprint(texts(read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 5}).Messages)); got != "[2]" {
		t.Errorf("stored %s", got)
	}
}

func TestCloseRefusesAndIsIdempotent(t *testing.T) {
	b := open(t, config(t))
	started(t, b)
	if err := b.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
	if err := b.Start(newHub()); err == nil {
		t.Error("started twice")
	}
	closeNow(t, b)
	closeNow(t, b)
	if _, err := b.Publish(t.Context(), publication(t, "t:a", "1")); !errors.Is(err, fanout.ErrClosed) || !errors.Is(err, fanout.ErrUnavailable) {
		t.Errorf("publish: %v", err)
	}
	if _, err := b.Tail(t.Context(), source(t, b, "t:a")); !errors.Is(err, fanout.ErrUnavailable) {
		t.Errorf("tail: %v", err)
	}
	if err := b.Ready(t.Context()); err == nil {
		// The last look is still good for a second; it must not outlive that.
		eventually(t, "not ready", func() bool { return errors.Is(b.Ready(t.Context()), broker.ErrNotReady) })
	}
}

func TestOpenFailures(t *testing.T) {
	newer := config(t)
	b := open(t, newer)
	kv, err := b.JetStream().KeyValue(t.Context(), "RIVULET_TOPOLOGY")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "topology", []byte(`{"version":999}`)); err != nil {
		t.Fatal(err)
	}
	closeNow(t, b)
	gone, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for name, c := range map[string]struct {
		ctx  context.Context //nolint:containedctx // a case of a table
		cfg  broker.Config
		want error
	}{
		"newer topology": {t.Context(), newer, migrations.ErrNewerTopology},
		"no room":        {t.Context(), config(t, one(func(s *broker.NamespaceSpec) { s.MaxBytes = 2 << 30 })), migrations.ErrNoRoom},
		"no server":      {gone, config(t, func(c *broker.Config) { c.NATSURL = "nats://127.0.0.1:1" }), context.DeadlineExceeded},
		"bad namespace":  {t.Context(), config(t, one(func(s *broker.NamespaceSpec) { s.Name = "Ä" })), migrations.ErrInvalidSpec},
	} {
		_, err := broker.Open(c.ctx, c.cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestMigrateAndTopology(t *testing.T) {
	cfg := config(t)
	log := slog.New(slog.DiscardHandler)
	state, err := broker.Topology(t.Context(), cfg, log)
	if err != nil || state.Version != 0 || len(state.Pending) == 0 {
		t.Fatalf("fresh: %+v, %v", state, err)
	}
	rep, err := broker.Migrate(t.Context(), cfg, log)
	if err != nil || rep.To != state.Known {
		t.Fatalf("migrate: %+v, %v", rep, err)
	}
	if state, err = broker.Topology(t.Context(), cfg, log); err != nil || state.Version != state.Known || state.Applied[0].By != cfg.Node {
		t.Fatalf("after: %+v, %v", state, err)
	}
	b := open(t, cfg)
	publish(t, b, "t:a", "1")
	if _, err := broker.Migrate(t.Context(), cfg, log); !errors.Is(err, broker.ErrDataDirInUse) {
		t.Errorf("beside a running node: %v", err)
	}
}

func TestPartitionsStayFixed(t *testing.T) {
	cfg := config(t)
	b := open(t, cfg)
	publish(t, b, "t:a", "1")
	closeNow(t, b)
	cfg.Namespaces[0].Partitions = 8
	b = open(t, cfg)
	if info, err := b.NamespaceInfo("t"); err != nil || info.Partitions != 1 {
		t.Errorf("info %+v, %v", info, err)
	}
	if got := fmt.Sprint(texts(read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 5}).Messages)); got != "[1]" {
		t.Errorf("stored %s", got)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for field, change := range map[string]func(*broker.Config){
		"node":            func(c *broker.Config) { c.Node = "a b" },
		"data":            func(c *broker.Config) { c.Data = "" },
		"nats_url":        func(c *broker.Config) { c.NATSURL = "http://x" },
		"sync":            func(c *broker.Config) { c.Sync = "never" },
		"disk_budget":     func(c *broker.Config) { c.DiskBudget = 1 },
		"replicas":        func(c *broker.Config) { c.Replicas = 2 },
		"publish_timeout": func(c *broker.Config) { c.PublishTimeout = 0 },
		"in_flight":       func(c *broker.Config) { c.InFlight = 0 },
		"feed_buffer":     func(c *broker.Config) { c.FeedBuffer = 1 },
		"max_age":         func(c *broker.Config) { c.Namespaces[0].MaxAge = time.Millisecond },
		"twice":           func(c *broker.Config) { c.Namespaces = append(c.Namespaces, c.Namespaces[0]) },
	} {
		err := config(t, change).Validate()
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := config(t).Validate(); err != nil {
		t.Error(err)
	}
	secret := config(t, func(c *broker.Config) { c.NATSURL = "http://user:hunter2@x" })
	if err := secret.Validate(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error repeats a password: %v", err)
	}
}
