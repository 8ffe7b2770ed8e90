package broker_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// lagging has the server that a node is connected to answer as a replica does that has
// nothing new, to whoever asks it for API keys and revocations; asked counts them.
func lagging(t *testing.T, r *remote) (asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	answerTrust(t, r, func(m *nats.Msg) {
		asked.Add(1)
		_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"404"}}}) // the node may be gone
	})
	return asked
}

// answerTrust answers what nodes at a server ask the nearest replica for API keys and
// revocations, until the returned function is called.
func answerTrust(t *testing.T, r *remote, answer nats.MsgHandler) (stop func()) {
	t.Helper()
	nc, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", r.opts.Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("lagging.trust", answer); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	const asks = "$JS.API.DIRECT.GET." + migrations.TrustStream
	if err := r.srv.GlobalAccount().AddMapping(asks, "lagging.trust"); err != nil {
		t.Fatal(err)
	}
	return func() { r.srv.GlobalAccount().RemoveMapping(asks) }
}

// trustBound is within what time a change holds on every node that reaches the log.
const trustBound = time.Second

// TestTrustOfALaggingReplica: on three servers, with a node at each, a change holds on all
// nodes within the bound, also where the replica that a node asks does not have it for as long
// as one likes, and where the node is the one that has made it.
func TestTrustOfALaggingReplica(t *testing.T) {
	servers := cluster(t)
	var nodes []*broker.Broker
	var knows []*known
	for _, r := range servers {
		b := open(t, config(t, connected(r), func(c *broker.Config) { c.Replicas = 3 }))
		nodes, knows = append(nodes, b), append(knows, trusting(t, b))
	}
	within := func(what, entry, value string, from *broker.Broker) {
		t.Helper()
		set(t, from, "user", entry, value, time.Hour)
		begun := time.Now()
		for i, k := range knows {
			eventually(t, fmt.Sprintf("%s: node %d to know", what, i), func() bool { return k.all()["user/"+entry] == value })
			if took := time.Since(begun); took > trustBound {
				t.Errorf("%s: node %d knew after %v", what, i, took)
			}
		}
	}
	within("no lag", "ann", "1", nodes[0])
	asked := lagging(t, servers[1])
	within("a lag", "ann", "2", nodes[0])
	for i := range 20 {
		within("a lag", "bob", fmt.Sprint(i), nodes[i%3])
	}
	within("taken back", "bob", "", nodes[2])
	if asked.Load() == 0 {
		t.Error("the lagging replica was not asked: the test proves nothing")
	}
	// At rest nothing is thought to be missing.
	begun, before := time.Now(), asked.Load()
	eventually(t, "some more looks", func() bool { return asked.Load() >= before+5 })
	if took := time.Since(begun); took < time.Second {
		t.Errorf("at rest the node looks 5 times within %v", took)
	}
}

// wholes is what a node was told to be all there is, each time.
type wholes struct {
	known

	mu   sync.Mutex // guards the following
	each []int      // how many entries there were
}

func (w *wholes) Trusted(list []fanout.TrustEntry, whole bool) {
	w.known.Trusted(list, whole)
	if whole {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.each = append(w.each, len(w.all()))
	}
}

// TestTrustIsWholeFromTheStart: a node that starts at a replica that has nothing yet knows
// everything when it has started, and was never told that there is less.
func TestTrustIsWholeFromTheStart(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	const entries = 200 // more than one look reads from the leader
	first := open(t, config(t, connected(r)))
	trusting(t, first)
	for i := range entries {
		set(t, first, "user", fmt.Sprint(i), "1", time.Hour)
	}
	asked := lagging(t, r)
	w := &wholes{}
	if err := open(t, config(t, connected(r))).Trust().Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if n := len(w.all()); n != entries || asked.Load() == 0 {
		t.Errorf("%d of %d are known after the start; the replica was asked %d times", n, entries, asked.Load())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.each) != 1 || w.each[0] != entries {
		t.Errorf("was told that there are %d", w.each)
	}
}

// TestTrustOfAnotherBucket: where the bucket is another than the one that was read, and cannot
// be read at first, all of it is read when it can be.
func TestTrustOfAnotherBucket(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	b := open(t, config(t, connected(r)))
	k := trusting(t, b)
	set(t, b, "user", "old", "1", time.Hour)
	nc, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", r.opts.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	heal := answerTrust(t, r, func(m *nats.Msg) {
		refused.Add(1)
		_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"500"}}}) // the node may be gone
	})
	stream, err := js.Stream(t.Context(), migrations.TrustStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), migrations.TrustStream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), stream.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := js.Publish(t.Context(), migrations.TrustSubject("user", fmt.Sprint("new", i)), []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	before := refused.Load()
	eventually(t, "some looks in vain", func() bool { return refused.Load() > before+3 })
	if _, ok := k.all()["user/old"]; !ok {
		t.Error("what was known has gone before there is anything in its place")
	}
	heal()
	eventually(t, "the other bucket to be known", func() bool {
		all := k.all()
		return len(all) == 5 && all["user/new0"] == "1" && all["user/new4"] == "1"
	})
}
