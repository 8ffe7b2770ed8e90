package webhook_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/broker/webhook"
)

const leaseTTL = 3 * time.Second

// events opens the log of events without an engine.
func events(tb testing.TB, cfg broker.Config) *broker.Events {
	tb.Helper()
	b, err := broker.Open(tb.Context(), cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	ecfg := broker.DefaultEventsConfig()
	ecfg.LeaseTTL = leaseTTL
	e, err := b.OpenEvents(tb.Context(), ecfg)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// A holder that hears nothing of the log stops by its own clock, before the lease has run
// out there and another may begin.
func TestHolderStopsByItsOwnClock(t *testing.T) {
	srv := natsServer(t)
	cfg := brokerConfig(t)
	cfg.Data, cfg.DiskBudget, cfg.NATSURL = "", 0, srv.ClientURL()
	e := events(t, cfg)
	began, ended := make(chan struct{}), make(chan time.Time, 1)
	ctx, cancel := context.WithCancel(t.Context())
	led := make(chan struct{})
	go func() {
		defer close(led)
		e.Lead(ctx, 1, func(ctx context.Context, _ int) {
			close(began)
			<-ctx.Done()
			ended <- time.Now()
		}, func(int) []byte { return []byte(`{}`) })
	}()
	<-began
	cut := time.Now()
	srv.Shutdown()
	select {
	case at := <-ended:
		if d := at.Sub(cut); d >= leaseTTL {
			t.Errorf("stopped %v after the log was gone; the lease was free after %v", d, leaseTTL)
		}
	case <-time.After(3 * leaseTTL):
		t.Error("works on without a lease")
	}
	cancel()
	<-led
}

// A reader that has missed something does not go on behind it: opened again, it has it.
func TestReaderNoticesWhatItMissed(t *testing.T) {
	srv := natsServer(t)
	cfg := brokerConfig(t)
	cfg.Data, cfg.DiskBudget, cfg.NATSURL = "", 0, srv.ClientURL()
	e := events(t, cfg)
	const key, place = "chat:a", "webhook_x"
	p := 0
	readers := make([]webhook.Reader, webhook.Partitions)
	for i := range readers {
		var err error
		if readers[i], err = e.ReadEvents(t.Context(), i, place); err != nil {
			t.Fatal(err)
		}
	}
	write := func(id string) {
		t.Helper()
		if _, err := e.WriteEvents(t.Context(), []webhook.Record{{ID: id, Key: key, Data: []byte(`"` + id + `"`)}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"1", "2", "3"} {
		write(id)
	}
	for i, r := range readers { // which partition it is
		if n, err := r.Pending(t.Context()); err != nil {
			t.Fatal(err)
		} else if n == 3 {
			p = i
		}
	}
	items, err := readers[p].Fetch(t.Context(), 1)
	if err != nil || len(items) != 1 || string(items[0].Event) != `"1"` {
		t.Fatalf("%v, %v", items, err)
	}
	steal(t, srv.ClientURL(), p, place)
	if items, err := readers[p].Fetch(t.Context(), 1); err == nil {
		t.Errorf("went on with %s", items[0].Event)
	}
	again, err := e.ReadEvents(t.Context(), p, place)
	if err != nil {
		t.Fatal(err)
	}
	if items, err = again.Fetch(t.Context(), 3); err != nil || len(items) != 3 || string(items[0].Event) != `"1"` || string(items[1].Event) != `"2"` {
		t.Errorf("%v, %v", items, err)
	}
}

// steal takes the next event of a place away, as an answer that is lost on its way.
func steal(tb testing.TB, url string, partition int, place string) {
	tb.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		tb.Fatal(err)
	}
	defer nc.Close()
	subject := "$JS.API.CONSUMER.MSG.NEXT.RIVULET_EVENTS_" + string(rune('0'+partition)) + "." + place
	if m, err := nc.Request(subject, []byte("1"), 10*time.Second); err != nil || string(m.Data) != `"2"` {
		tb.Fatalf("%v, %v", m, err)
	}
}
