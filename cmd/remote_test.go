package cmd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/cmd"
)

// natsServer runs a NATS server with JetStream on a free port.
func natsServer(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		JetStreamMaxStore: 4 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(deadline) {
		t.Fatal("the NATS server does not start")
	}
	return s.ClientURL()
}

// TestTwoNodesOneLog: what is published on one node reaches the subscribers of
// the other, which can also go on there.
func TestTwoNodesOneLog(t *testing.T) {
	cfg := devConfig(t)
	cfg.Broker.Data, cfg.Broker.DiskBudget = "", 0
	cfg.Broker.NATSURL = natsServer(t)
	cfg.Namespaces = map[string]cmd.NamespaceConfig{"chat": {MaxBytes: 64 << 20}}
	a, b := startNode(t, cfg), startNode(t, cfg)
	_, sub := subscribe(t, b, "chat:x", rivulet.SubscribeOptions{})
	for i := range 5 {
		publish(t, a, "chat:x", i)
	}
	if got := strings.Join(receive(t, sub, 5), " "); got != "0 1 2 3 4" {
		t.Errorf("the other node's subscriber got %s", got)
	}
	for i := range 2 {
		publish(t, b, "chat:x", fmt.Sprint("late ", i))
	}
	_, other := subscribe(t, a, "chat:x", rivulet.SubscribeOptions{Position: sub.Position()})
	if got := strings.Join(receive(t, other, 2), " "); got != `"late 0" "late 1"` {
		t.Errorf("went on elsewhere with %s", got)
	}
}
