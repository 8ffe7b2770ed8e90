package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rivulet-rt/rivulet/auth/signature"
	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "0123456789abcdef0123456789abcdef"

// receiver is an HTTP server that checks and keeps what it gets.
type receiver struct {
	*httptest.Server
	tb testing.TB

	mu       sync.Mutex // guards the following
	answer   func(attempt int, events []webhook.Event, w http.ResponseWriter)
	requests int
	taken    []webhook.Event // those answered with 2xx
	under    map[string]int  // requests under way by channel
	overlaps int
}

// receive starts a receiver, which takes everything unless answer says otherwise. answer
// may be nil, and write a status other than 200.
func receive(tb testing.TB, answer func(attempt int, events []webhook.Event, w http.ResponseWriter)) *receiver {
	tb.Helper()
	r := &receiver{tb: tb, answer: answer, under: map[string]int{}}
	r.Server = httptest.NewServer(r)
	tb.Cleanup(r.Close)
	return r
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender gave up
	}
	if err := signature.Verify([]byte(secret), body, req.Header.Get(signature.Header), time.Now(), time.Minute); err != nil {
		r.tb.Errorf("%v", err)
	}
	var in struct {
		Events []webhook.Event `json:"events"`
	}
	if err := json.Unmarshal(body, &in); err != nil || len(in.Events) == 0 {
		r.tb.Errorf("body %s: %v", body, err)
	}
	r.mu.Lock()
	r.requests++
	attempt := r.requests
	answer := r.answer
	channels := map[string]bool{}
	for _, e := range in.Events {
		channels[e.Channel] = true
	}
	for c := range channels {
		if r.under[c]++; r.under[c] > 1 {
			r.overlaps++
		}
	}
	r.mu.Unlock()
	sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	if answer != nil {
		answer(attempt, in.Events, sw)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range channels {
		r.under[c]--
	}
	if sw.status < 300 {
		r.taken = append(r.taken, in.Events...)
	}
}

func (r *receiver) events() []webhook.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.taken)
}

// ids are the events' in the order of their first arrival.
func ids(events []webhook.Event) []string {
	var list []string
	seen := map[string]bool{}
	for _, e := range events {
		if !seen[e.ID] {
			list = append(list, e.ID)
		}
		seen[e.ID] = true
	}
	return list
}

// await waits until so many different events were taken, and returns all that were.
func (r *receiver) await(n int) []webhook.Event {
	r.tb.Helper()
	var got []webhook.Event
	eventually(r.tb, 30*time.Second, func() (bool, string) {
		got = r.events()
		return len(ids(got)) >= n, fmt.Sprintf("%d of %d events", len(ids(got)), n)
	})
	return got
}

// eventually polls until ok.
func eventually(tb testing.TB, within time.Duration, check func() (ok bool, what string)) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); ; {
		ok, what := check()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("after %v: %s", within, what)
		}
		<-tick.C
	}
}

// hook is one that asks for everything of chat and user.
func hook(tb testing.TB, name, url string, types ...webhook.Type) webhook.Hook {
	tb.Helper()
	return webhook.Hook{
		Name: name, URL: url, Secret: []byte(secret), Events: types,
		Channels: patterns(tb, "chat:>", "user:>"), DeadLetters: patterns(tb, "default:webhook-dead-letters."+name)[0],
	}.WithDefaults()
}

func patterns(tb testing.TB, list ...string) []fanout.Channel {
	tb.Helper()
	out := make([]fanout.Channel, len(list))
	for i, s := range list {
		var err error
		if out[i], err = fanout.ParsePattern(s); err != nil {
			tb.Fatal(err)
		}
	}
	return out
}

// node is a broker with an engine.
type node struct {
	*webhook.Engine
	broker *broker.Broker
	reg    *prometheus.Registry
	stop   func()
}

func brokerConfig(tb testing.TB) broker.Config {
	tb.Helper()
	cfg := broker.DefaultConfig()
	cfg.Data, cfg.DiskBudget = tb.TempDir(), 2<<30
	for _, name := range []string{"default", "chat", "user"} {
		cfg.Namespaces = append(cfg.Namespaces, broker.NamespaceSpec{Name: name, Partitions: 4, MaxBytes: 64 << 20})
	}
	return cfg
}

func quick(hooks ...webhook.Hook) webhook.Config {
	cfg := webhook.DefaultConfig()
	cfg.Hooks = hooks
	cfg.RetryLeast, cfg.RetryMost = 10*time.Millisecond, 100*time.Millisecond
	cfg.VacatedAfter, cfg.Grace = 200*time.Millisecond, 500*time.Millisecond
	return cfg
}

// run starts a node and waits until its webhooks run.
func run(tb testing.TB, bcfg broker.Config, cfg webhook.Config, change ...func(*webhook.Services)) *node {
	tb.Helper()
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	n := &node{reg: prometheus.NewRegistry()}
	log := slog.New(slog.NewTextHandler(logWriter{tb}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	if n.broker, err = broker.Open(tb.Context(), bcfg, log, n.reg); err != nil {
		tb.Fatal(err)
	}
	ecfg := broker.DefaultEventsConfig()
	ecfg.LeaseTTL = 3 * time.Second
	events, err := n.broker.OpenEvents(tb.Context(), ecfg)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Node = bcfg.Node
	svc := webhook.Services{
		Log: events, Leases: events, Publisher: n.broker, Relay: events, Ledger: events, Acknowledged: n.broker.Sessions(),
	}
	for _, f := range change {
		f(&svc)
	}
	n.Engine = webhook.New(cfg, svc, log, n.reg)
	n.Start(tb.Context())
	n.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.Stop(ctx); err != nil {
			tb.Error(err)
		}
		if err := n.broker.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(n.stop)
	n.awaitRunning(tb)
	return n
}

func (n *node) awaitRunning(tb testing.TB) {
	tb.Helper()
	eventually(tb, 20*time.Second, func() (bool, string) {
		list, err := n.Status(tb.Context())
		for _, s := range list {
			if s.State == webhook.Starting {
				return false, fmt.Sprintf("%+v", s)
			}
		}
		return err == nil, fmt.Sprint(err)
	})
}

// publish stores messages with the data from, from+1, ... in order.
func (n *node) publish(tb testing.TB, channel string, from, count int) {
	tb.Helper()
	list := make([]*fanout.Publication, count)
	for i := range list {
		list[i] = &fanout.Publication{Channel: patterns(tb, channel)[0], Data: fmt.Append(nil, from+i)}
	}
	for i, o := range n.broker.PublishAll(tb.Context(), list) {
		if o.Err != nil {
			tb.Fatalf("publish %d to %s: %v", from+i, channel, o.Err)
		}
	}
}

func (n *node) counter(tb testing.TB, name, label string) float64 {
	tb.Helper()
	families, err := n.reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				if m.GetCounter() != nil {
					return m.GetCounter().GetValue()
				}
				return m.GetGauge().GetValue()
			}
		}
	}
	tb.Fatalf("there is no metric %s of %s", name, label)
	return 0
}

type logWriter struct{ tb testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.tb.Logf("%s", p[:len(p)-1])
	return len(p), nil
}

// inOrder makes sure that the first arrivals of each channel's messages count upwards
// from 0 to n-1.
func inOrder(tb testing.TB, events []webhook.Event, n int) {
	tb.Helper()
	next, seen := map[string]int{}, map[string]bool{}
	for _, e := range events {
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		if got := string(e.Message.Data); got != fmt.Sprint(next[e.Channel]) {
			tb.Fatalf("%s: %s where %d is next", e.Channel, got, next[e.Channel])
		}
		next[e.Channel]++
	}
	for c, got := range next {
		if got != n {
			tb.Errorf("%s: %d of %d", c, got, n)
		}
	}
}
