package fanout_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
)

// node is one hub on a log without faults.
type node struct {
	*fanout.Hub
	log  *memLog
	feed *memFeed
	gate *gate
	reg  *prometheus.Registry
}

// gate stands between the hub and the log: it counts what passes, and holds it up.
type gate struct {
	*memLog
	reads atomic.Int64

	mu sync.Mutex // guards the following
	// hold, if set, is called after the log has answered a read, and delays the answer.
	hold   func(ctx context.Context, q fanout.Query)
	locate func(ctx context.Context) error
	tail   func() // like hold, for Tail
}

// Locate implements fanout.Log.
func (g *gate) Locate(ctx context.Context, c fanout.Channel) ([]fanout.StreamID, error) {
	g.mu.Lock()
	f := g.locate
	g.mu.Unlock()
	if f != nil {
		if err := f(ctx); err != nil {
			return nil, err
		}
	}
	return g.memLog.Locate(ctx, c)
}

// Read implements fanout.Log.
func (g *gate) Read(ctx context.Context, q fanout.Query) (fanout.Batch, error) {
	g.reads.Add(1)
	b, err := g.memLog.Read(ctx, q)
	g.mu.Lock()
	f := g.hold
	g.mu.Unlock()
	if f != nil {
		f(ctx, q)
	}
	return b, err
}

// Tail implements fanout.Log.
func (g *gate) Tail(ctx context.Context, s fanout.Source) (fanout.Tail, error) {
	t, err := g.memLog.Tail(ctx, s)
	g.mu.Lock()
	f := g.tail
	g.mu.Unlock()
	if f != nil {
		f()
	}
	return t, err
}

func (g *gate) setTail(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tail = f
}

func (g *gate) setHold(f func(context.Context, fanout.Query)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = f
}

func (g *gate) setLocate(f func(context.Context) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.locate = f
}

// calm is a log without faults.
func calm(limit uint64, parts int) *memLog {
	l := newMemLog(limit, parts, nil)
	l.faulty = func(int) bool { return false }
	return l
}

func newNode(t testing.TB, l *memLog, exact bool, change func(*fanout.HubConfig)) *node {
	t.Helper()
	cfg := fanout.DefaultHubConfig()
	cfg.Shards = 2
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	n := &node{log: l, feed: l.newFeed(exact), gate: &gate{memLog: l}, reg: prometheus.NewRegistry()}
	n.Hub = fanout.NewHub(cfg, n.gate, n.feed, l, slog.New(slog.DiscardHandler), n.reg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.feed.run(ctx, n.Hub) })
	t.Cleanup(func() {
		stop, done := context.WithTimeout(context.Background(), 10*time.Second)
		defer done()
		if err := n.Stop(stop); err != nil {
			t.Error(err)
		}
		cancel()
		wg.Wait()
	})
	return n
}

// metric sums the values of a counter or gauge, of one label value if given.
func (n *node) metric(t testing.TB, name string, label ...string) float64 {
	t.Helper()
	families, err := n.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	found := false
	for _, f := range families {
		if f.GetName() != "rivulet_fanout_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(label) > 0 && m.GetLabel()[0].GetValue() != label[0] {
				continue
			}
			found = true
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if !found {
		t.Fatalf("no metric %s %v", name, label)
	}
	return sum
}

// publish stores messages m<from> to m<to>.
func (n *node) publish(t testing.TB, channel string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if !n.log.store(mustChannel(t, channel), fanout.KindData, fmt.Sprintf("m%d", i)) {
			t.Fatal("the log took nothing")
		}
	}
}

// dispatched waits until the feed has brought all that was published.
func (n *node) dispatched(t testing.TB) {
	t.Helper()
	if !eventually(10*time.Second, n.feed.idle) {
		t.Fatal("the feed does not end")
	}
}

// reader is a client that notes in words what it is given.
type reader struct {
	t      testing.TB
	client *fanout.Client
	sink   *boundedSink
	told   []string
	last   event // that was told
	at     fanout.Position
}

func (n *node) reader(t testing.TB, room int) *reader {
	t.Helper()
	r := &reader{t: t, sink: &boundedSink{room: room}}
	r.client = n.NewClient(r.sink)
	return r
}

// subscribe returns when the subscription was answered.
func (n *node) subscribe(t testing.TB, channel string, start fanout.Start) *reader {
	t.Helper()
	r := n.reader(t, 1<<20)
	r.add(channel, start)
	if !eventually(10*time.Second, func() bool { r.take(); return len(r.told) > 0 }) || !strings.HasPrefix(r.told[0], "subscribed ") {
		t.Fatalf("told %q", r.told)
	}
	return r
}

func (r *reader) add(channel string, start fanout.Start) {
	r.t.Helper()
	if err := r.client.Subscribe(fanout.SubscribeRequest{Token: 7, Channel: mustChannel(r.t, channel), Start: start}); err != nil {
		r.t.Fatal(err)
	}
}

// take notes what the sink was given and drains it if it was full.
func (r *reader) take() {
	events, refused := r.sink.drain()
	for _, e := range events {
		r.last = e
		if e.m != nil {
			r.at = e.m.ResumeAt()
			r.told = append(r.told, string(e.m.Data))
			continue
		}
		if len(e.n.Positions) == 1 {
			r.at = e.n.Positions[0]
		}
		r.told = append(r.told, words(e.n))
	}
	if refused {
		r.client.Drained()
	}
}

func words(n fanout.Notice) string {
	s := n.Channel.String()
	switch n.Kind {
	case fanout.NoticeSubscribed:
		if n.Recovered {
			return "subscribed " + s
		}
		return "subscribed " + s + " not recovered: " + n.Reason
	case fanout.NoticeFailed:
		return fmt.Sprintf("failed %s: %v", s, n.Err)
	case fanout.NoticeUnsubscribed:
		return "unsubscribed " + s
	case fanout.NoticeCaughtUp:
		return "caught up " + s
	case fanout.NoticeGap:
		return "gap " + s + " " + n.Reason
	case fanout.NoticePosition:
		return "position " + s
	case fanout.NoticeDeleted:
		return fmt.Sprintf("deleted %s %d", s, n.Target)
	case fanout.NoticeChecked:
		return "checked " + s
	case fanout.NoticePresence:
		return fmt.Sprintf("presence %s %d", s, n.Presence.Clients)
	}
	return "unknown"
}

// await waits until the last thing told is what.
func (r *reader) await(what string) {
	r.t.Helper()
	if !eventually(10*time.Second, func() bool {
		r.take()
		return len(r.told) > 0 && r.told[len(r.told)-1] == what
	}) {
		r.t.Fatalf("%q is not told after %q", what, r.told[max(0, len(r.told)-20):])
	}
}

// expect checks all that was told since the last expect.
func (r *reader) expect(want ...string) {
	r.t.Helper()
	if len(want) > 0 {
		r.await(want[len(want)-1])
	}
	r.take()
	if fmt.Sprintf("%q", r.told) != fmt.Sprintf("%q", want) {
		r.t.Fatalf("told %q\nwant %q", r.told, want)
	}
	r.told = nil
}

// msgs are the messages m<from> to m<to>.
func msgs(from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("m%d", i))
	}
	return out
}

func join(lists ...[]string) (out []string) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}
