package broker_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/migrations"
)

// lagging has the server that a node is connected to answer as a replica does that has
// nothing new, to whoever asks it for API keys and revocations; asked counts them.
func lagging(t *testing.T, r *remote) (asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	nc, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", r.opts.Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("lagging.trust", func(m *nats.Msg) {
		asked.Add(1)
		_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"404"}}}) // the node may be gone
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := r.srv.GlobalAccount().AddMapping("$JS.API.DIRECT.GET."+migrations.TrustStream, "lagging.trust"); err != nil {
		t.Fatal(err)
	}
	return asked
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
