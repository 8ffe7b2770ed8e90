package broker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// remote is a NATS server of its own, as an operator runs it.
type remote struct {
	opts *server.Options
	srv  *server.Server
}

func startRemote(tb testing.TB, opts *server.Options) *remote {
	tb.Helper()
	r := &remote{opts: opts}
	r.start(tb)
	tb.Cleanup(r.stop)
	return r
}

func (r *remote) start(tb testing.TB) {
	tb.Helper()
	srv, err := server.NewServer(r.opts.Clone())
	if err != nil {
		tb.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		tb.Fatal("server did not start")
	}
	r.srv = srv
	r.opts.Port = srv.Addr().(*net.TCPAddr).Port // the same after a restart
}

func (r *remote) stop() {
	r.srv.Shutdown()
	r.srv.WaitForShutdown()
}

func remoteOptions(tb testing.TB, name string) *server.Options {
	tb.Helper()
	return &server.Options{
		ServerName: name, Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: filepath.Join(tb.TempDir(), name), JetStreamMaxMemory: 1 << 20, JetStreamMaxStore: 1 << 30,
		SyncInterval: time.Second,
	}
}

// cluster is three servers that know each other.
func cluster(tb testing.TB) []*remote {
	tb.Helper()
	var ports []int
	var hold []net.Listener
	for tries := 0; len(hold) < 3; tries++ {
		// Below those that the system gives to outgoing connections, of which one could take
		// it before the server does.
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err != nil {
			if tries > 100 {
				tb.Fatal(err)
			}
			continue
		}
		hold = append(hold, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	var list []*remote
	for i, l := range hold {
		_ = l.Close()
		o := remoteOptions(tb, fmt.Sprintf("n%d", i))
		o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i], NoAdvertise: true}
		for j, p := range ports {
			if j != i {
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", p)})
			}
		}
		srv, err := server.NewServer(o)
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, &remote{opts: o, srv: srv})
		srv.Start()
	}
	for _, r := range list {
		if !r.srv.ReadyForConnections(30 * time.Second) {
			tb.Fatal("a server of the cluster did not start")
		}
		r.opts.Port = r.srv.Addr().(*net.TCPAddr).Port
	}
	tb.Cleanup(func() {
		for _, r := range list {
			r.stop()
		}
	})
	return list
}

func connected(list ...*remote) func(*broker.Config) {
	return func(c *broker.Config) {
		var urls []string
		for _, r := range list {
			urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", r.opts.Port))
		}
		c.NATSURL, c.Data, c.DiskBudget = strings.Join(urls, ","), "", 0
		if len(list) > 1 {
			c.Replicas = 3
		}
	}
}

func watch(t *testing.T, b *broker.Broker, ch string) fanout.Source {
	t.Helper()
	src := source(t, b, ch)
	if err := b.Watch(t.Context(), src); err != nil {
		t.Fatalf("watch %s: %v", ch, err)
	}
	return src
}

func TestRemoteWatchAndUnwatch(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	b := open(t, config(t, connected(r)))
	if !b.Exact() || b.Embedded() {
		t.Error("a single remote server is exact, and not embedded")
	}
	h := started(t, b)
	a := watch(t, b, "t:a")
	if err := b.Watch(t.Context(), a); err == nil {
		t.Error("watched twice")
	}
	watch(t, b, "t:p.*")
	publish(t, b, "t:none", "0")
	want := publish(t, b, "t:a", "1")
	publish(t, b, "t:p.x", "2")
	list := messages(h.wait(t, "two messages", func(e []event) bool { return len(messages(e)) == 2 }))
	if got := fmt.Sprint(texts(list)); got != "[1 2]" || list[0].Position != want {
		t.Errorf("got %s", got)
	}
	b.Unwatch(a)
	publish(t, b, "t:a", "3")
	publish(t, b, "t:p.y", "4")
	list = messages(h.wait(t, "the pattern's message", func(e []event) bool { return len(messages(e)) >= 3 }))
	if got := string(list[2].Data); got != "4" {
		t.Errorf("after unwatch: got %s", got)
	}
}

// suspectedAfter waits for a suspicion of everything after the first n events.
func suspectedAfter(n int) func([]event) bool {
	return func(list []event) bool {
		for _, e := range list[min(n, len(list)):] {
			if e.msg == nil && e.suspect == "" {
				return true
			}
		}
		return false
	}
}

func TestRemoteRestartHeals(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	b := open(t, config(t, connected(r)))
	h := started(t, b)
	src := watch(t, b, "t:a")
	x := publish(t, b, "t:a", "1")
	h.wait(t, "the first message", func(e []event) bool { return len(messages(e)) == 1 })
	r.stop()
	eventually(t, "publishes to be refused", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "lost"))
		if err == nil {
			t.Fatal("stored without a server")
		}
		return errors.Is(err, fanout.ErrUnavailable)
	})
	if _, err := b.Tail(t.Context(), src); !errors.Is(err, fanout.ErrUnavailable) {
		t.Errorf("tail without a server: %v", err)
	}
	if err := b.Ready(t.Context()); !errors.Is(err, broker.ErrNotReady) {
		t.Errorf("ready without a server: %v", err)
	}
	before, _ := h.snapshot()
	r.start(t)
	h.wait(t, "a suspicion after the restart", suspectedAfter(len(before)))
	eventually(t, "publishes to be accepted", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "2"))
		return err == nil
	})
	h.wait(t, "the feed to go on", func(e []event) bool { return string(messages(e)[len(messages(e))-1].Data) == "2" })
	eventually(t, "readiness", func() bool { return b.Ready(t.Context()) == nil })
	expect(t, b, "over the restart", "t:a", x, "", "2")
}

// The server comes back with an older copy, or with nothing.
func TestRemoteStoreReplaced(t *testing.T) {
	o := remoteOptions(t, "one")
	r := startRemote(t, o)
	b := open(t, config(t, connected(r)))
	h := started(t, b)
	src := watch(t, b, "t:a")
	a := publishMany(t, b, "t:a", 0, 5)
	tag := b.Tag(src.Stream)
	r.stop()
	o.StoreDir = filepath.Join(t.TempDir(), "empty")
	r.start(t)
	eventually(t, "the streams to be there again", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "new"))
		return err == nil
	})
	h.wait(t, "a suspicion of the stream", func(e []event) bool {
		for _, one := range e {
			if one.suspect == src.Stream {
				return true
			}
		}
		return false
	})
	if b.Tag(src.Stream) == tag {
		t.Error("the empty log has the old epoch")
	}
	publishMany(t, b, "t:a", 100, 10)
	for _, x := range a {
		if _, ok, reason, ev := judge(t, b, "t:a", x); ok || ev.Begin.IsZero() {
			t.Errorf("from %v: complete %v %s", x, ok, reason)
		}
	}
}

// An older copy is noticed also where nobody is subscribed to the stream.
func TestRemoteOlderCopy(t *testing.T) {
	o := remoteOptions(t, "one")
	r := startRemote(t, o)
	b := open(t, config(t, connected(r)))
	started(t, b)
	id := source(t, b, "t:a").Stream
	publishMany(t, b, "t:a", 0, 5)
	r.stop()
	older := filepath.Join(t.TempDir(), "older")
	copyFiles(t, older, o.StoreDir)
	r.start(t)
	tag := b.Tag(id)
	eventually(t, "publishes after a mere restart", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "more"))
		return err == nil
	})
	publishMany(t, b, "t:a", 5, 5)
	if b.Tag(id) != tag {
		t.Fatal("a mere restart raised the epoch")
	}
	r.stop()
	o.StoreDir = older
	r.start(t)
	eventually(t, "a new epoch", func() bool { return b.Tag(id) != tag })
	tag = b.Tag(id)
	eventually(t, "publishes", func() bool {
		_, err := b.Publish(t.Context(), publication(t, "t:a", "new"))
		return err == nil
	})
	if b.Tag(id) != tag {
		t.Error("raised again")
	}
}

func TestClusterLeaderLoss(t *testing.T) {
	if testing.Short() { // left out only where -short asks for it; the test command does not
		t.Skip("three servers")
	}
	nodes := cluster(t)
	b := open(t, config(t, connected(nodes...), one(func(s *broker.NamespaceSpec) { s.Replicas = 3 })))
	if b.Exact() {
		t.Error("a cluster is not exact")
	}
	h := started(t, b)
	src := watch(t, b, "t:a")
	x := publish(t, b, "t:a", "first")

	var mu sync.Mutex
	acked := map[string]bool{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				p := publication(t, "t:a", fmt.Sprintf("%d-%d", w, i))
				p.Key = string(p.Data)
				for {
					_, err := b.Publish(t.Context(), p)
					if err == nil {
						mu.Lock()
						acked[p.Key] = true
						mu.Unlock()
						break
					}
					if !errors.Is(err, fanout.ErrUnavailable) && !errors.Is(err, fanout.ErrOutcomeUnknown) {
						t.Errorf("publish: %v", err)
						return
					}
				}
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
	eventually(t, "some messages", func() bool { return count() > 200 })
	leader := leaderOf(t, b, src, nodes)
	before, _ := h.snapshot()
	leader.stop()
	h.wait(t, "a suspicion after the leader went", func(e []event) bool {
		for _, one := range e[len(before):] {
			if one.msg == nil {
				return true
			}
		}
		return false
	})
	n := count()
	eventually(t, "messages under the new leader", func() bool { return count() > n+200 })
	leader.start(t)
	n = count()
	eventually(t, "messages with the old leader back", func() bool { return count() > n+200 })
	close(stop)
	wg.Wait()

	data, ok, reason, _ := judge(t, b, "t:a", x)
	if !ok {
		t.Errorf("over the change of leaders: %s", reason)
	}
	times := map[string]int{}
	for _, d := range data {
		times[d]++
	}
	for key := range acked {
		if times[key] != 1 {
			t.Errorf("message %s is stored %d times", key, times[key])
		}
	}
	tails, err := b.Tails(t.Context(), []fanout.Source{src, source(t, b, "t:none")})
	if err != nil || tails[0].Offset == 0 || !tails[1].IsZero() {
		t.Errorf("tails %v, %v", tails, err)
	}
	after, err := b.Seek(t.Context(), src, fanout.Seek{Last: 10})
	if batch := read(t, b, fanout.Query{Source: src, After: after, Limit: 100}); err != nil || len(batch.Messages) != 10 {
		t.Errorf("last 10: %d messages, %v", len(batch.Messages), err)
	}
}

func leaderOf(t *testing.T, b *broker.Broker, src fanout.Source, nodes []*remote) *remote {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), string(src.Stream))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range nodes {
		if r.srv.Name() == s.CachedInfo().Cluster.Leader {
			return r
		}
	}
	t.Fatalf("no leader among the nodes: %+v", s.CachedInfo().Cluster)
	return nil
}

// Two nodes on one server start at once and agree on everything.
func TestTwoNodesStartAtOnce(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	cfg := config(t, connected(r), one(func(s *broker.NamespaceSpec) { s.Partitions = 4 }))
	nodes := make([]*broker.Broker, 3)
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() {
			c := cfg
			c.Node = fmt.Sprintf("node%d", i)
			nodes[i] = open(t, c)
		})
	}
	wg.Wait()
	h := started(t, nodes[0])
	src := watch(t, nodes[0], "t:a")
	want := publish(t, nodes[1], "t:a", "1")
	got := messages(h.wait(t, "the message", func(e []event) bool { return len(messages(e)) == 1 }))[0]
	if got.Position != want {
		t.Errorf("one node says %v, the other %v", got.Position, want)
	}
	// An epoch that one raises is the other's as well.
	if err := nodes[2].Raise(t.Context(), src.Stream, nodes[2].Tag(src.Stream)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the epoch to spread", func() bool {
		return nodes[0].Tag(src.Stream) == nodes[2].Tag(src.Stream) && nodes[0].Tag(src.Stream) != want.Stream
	})
}
