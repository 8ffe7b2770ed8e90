package test_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

// The log is changed under its readers: an older copy is put back, a stream is
// made anew. Whoever had seen more than there is now, or something else, is told
// so; nobody takes a new message for an old one.

// TestOlderCopyPutBack: the data folder of a node is replaced while it is stopped.
func TestOlderCopyPutBack(t *testing.T) {
	t.Parallel()
	cfg := localConfig(t)
	n := startLocal(t, cfg)
	at := n.publishAll("t:a", 1, 5)
	other := n.publishAll("t:b", 100, 104)
	n.stop()
	older := copyStore(t, cfg.Broker.Data)
	n = startLocal(t, cfg)
	n.expect("after a mere restart", "t:a", at[2], "3 4 5")
	maps.Copy(at, n.publishAll("t:a", 6, 10))
	n.expect("before the copy is put back", "t:a", at[7], "8 9 10")
	n.stop()
	replaceStore(t, cfg.Broker.Data, older)

	n = startLocal(t, cfg)
	for i := 6; i <= 10; i++ {
		n.expectGone("seen more than there is", "t:a", at[i], protocol.ReasonLogChanged, numbers(1, 5))
	}
	// A client on the way back while the log grows.
	waiting := n.socket().follow(protocol.SubscribeCommand{Channel: "t:a", Position: at[10]})
	n.publishAll("t:a", 11, 30)
	waiting.readTo(30)
	waiting.told("came back before the log grew", words("lost:log_changed", numbers(1, 5), numbers(11, 30)))
	for i := 6; i <= 10; i++ {
		n.expectGone("another message has the offset now", "t:a", at[i], protocol.ReasonLogChanged, words(numbers(1, 5), numbers(11, 30)))
		n.expectGone("with another channel's eyes", "t:b", at[i], protocol.ReasonLogChanged, numbers(100, 104))
	}
	for i := 1; i <= 5; i++ {
		n.expect("what both logs have", "t:a", at[i], words(numbers(i+1, 5), numbers(11, 30)))
	}
	n.expect("what both logs have, of another channel", "t:a", other[104], numbers(11, 30))
}

// TestOlderCopyWithHoles: as before, and what the new log stored under the old
// offsets is gone too, so that nothing there contradicts the client.
func TestOlderCopyWithHoles(t *testing.T) {
	t.Parallel()
	cfg := localConfig(t, func(ns *cmd.NamespaceConfig) { ns.MaxPerChannel = 5 })
	n := startLocal(t, cfg)
	n.publishAll("t:quiet", 1, 1) // its message keeps the front of the log where it is
	n.publishAll("t:a", 2, 5)
	n.stop()
	older := copyStore(t, cfg.Broker.Data)
	n = startLocal(t, cfg)
	at := n.publishAll("t:a", 6, 10)
	n.stop()
	replaceStore(t, cfg.Broker.Data, older)
	n = startLocal(t, cfg)
	// 106 to 110 take the offsets of 6 to 10, and the limit drops them.
	n.publishAll("t:a", 106, 116)
	n.expectGone("at the front of what is left", "t:a", at[10], protocol.ReasonLogChanged, numbers(111, 116))
}

// TestOlderCopyUnderConnectedNodes: the store of a NATS server is replaced while two
// nodes with subscribers wait for it, and it grows before they see it.
func TestOlderCopyUnderConnectedNodes(t *testing.T) {
	t.Parallel()
	for name, grown := range map[string]int{"shorter than before": 0, "grown past it": 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := startLog(t)
			proxies := []*proxy{startProxy(t, log.address()), startProxy(t, log.address())}
			var nodes []*local
			for _, p := range proxies {
				nodes = append(nodes, startLocal(t, remoteConfig(t, p.url())))
			}
			at := nodes[0].publishAll("t:x.a", 1, 5)
			older := log.copyNow(nodes)
			maps.Copy(at, nodes[1].publishAll("t:x.a", 6, 10))
			var live, patterns []*follower
			for _, n := range nodes {
				live = append(live, n.socket().follow(protocol.SubscribeCommand{Channel: "t:x.a", Position: at[5]}))
				patterns = append(patterns, n.socket().follow(protocol.SubscribeCommand{Channel: "t:x.*", Positions: []string{at[5]}}))
			}
			for i := range nodes {
				live[i].readTo(10)
				patterns[i].readTo(10)
			}
			for _, p := range proxies {
				p.refuse()
			}
			log.stop()
			replaceStore(t, log.opts.StoreDir, older)
			log.start()
			early := startLocal(t, remoteConfig(t, log.url()))
			early.ready()
			early.publishAll("t:x.a", 11, 10+grown)
			for _, p := range proxies {
				p.flow()
			}
			for _, n := range nodes {
				n.healed()
			}
			nodes[0].publishAll("t:x.a", 11+grown, 20+grown)
			now := words(numbers(1, 5), numbers(11, 20+grown))
			for i, n := range nodes {
				live[i].readTo(20 + grown)
				live[i].told("live", words(numbers(6, 10), "gap:log_changed", numbers(11, 20+grown)))
				patterns[i].readTo(20 + grown)
				patterns[i].told("a pattern", words(numbers(6, 10), "gap:log_changed", numbers(11, 20+grown)))
				for old := 6; old <= 10; old++ {
					n.expectGone("returning", "t:x.a", at[old], protocol.ReasonLogChanged, now)
				}
				n.expect("with a position of the new log", "t:x.a", live[i].at, "")
				if got := n.history("t:x.a", "").String(); got != now {
					t.Errorf("the log has %s", got)
				}
			}
		})
	}
}

// copyNow copies the store of the server, which is stopped for it.
func (l *logServer) copyNow(nodes []*local) string {
	l.t.Helper()
	l.stop()
	store := copyStore(l.t, l.opts.StoreDir)
	l.start()
	for _, n := range nodes {
		n.healed()
	}
	return store
}

// TestStreamMadeAnew: somebody deletes a stream of the log, and the node or he
// himself makes it again.
func TestStreamMadeAnew(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(t *testing.T, js jetstream.JetStream, cfg jetstream.StreamConfig){
		"by the node": func(*testing.T, jetstream.JetStream, jetstream.StreamConfig) {},
		"by an operator": func(t *testing.T, js jetstream.JetStream, cfg jetstream.StreamConfig) {
			t.Helper()
			if _, err := js.CreateOrUpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := startLog(t)
			n := startLocal(t, remoteConfig(t, log.url()))
			at := n.publishAll("t:a", 1, 5)
			live := n.socket().follow(protocol.SubscribeCommand{Channel: "t:a", Position: at[1]})
			live.readTo(5)
			js := log.js()
			stream, err := js.Stream(t.Context(), "CH_t_1_0")
			if err != nil {
				t.Fatal(err)
			}
			if err := js.DeleteStream(t.Context(), "CH_t_1_0"); err != nil {
				t.Fatal(err)
			}
			again(t, js, stream.CachedInfo().Config)
			n.ready()
			n.publishUntilStored("t:a", 11)
			live.readTo(11)
			live.told("live", "2 3 4 5 gap:log_changed 11")
			n.publishAll("t:a", 12, 20)
			for i := 1; i <= 5; i++ {
				n.expectGone("returning", "t:a", at[i], protocol.ReasonLogChanged, numbers(11, 20))
			}
			live.readTo(20)
			n.expect("with a position of the new stream", "t:a", live.at, "")
		})
	}
}

// publishUntilStored publishes until the node has a stream for it.
func (s *site) publishUntilStored(channel string, n int) {
	s.t.Helper()
	eventually(s.t, "a publish to be stored", func() bool {
		a := s.post(channel, n, fmt.Sprint("key-", n))
		if a.status != 201 && a.status != 503 {
			s.t.Fatalf("publish: %d %s", a.status, a.Message)
		}
		return a.status == 201
	})
}
