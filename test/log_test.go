package test_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/cmd"
)

// logServer is a NATS server of its own, in this process, that tests stop, start
// again on the same port, and give another store.
type logServer struct {
	t    *testing.T
	opts *server.Options
	srv  *server.Server
}

func startLog(t *testing.T) *logServer {
	t.Helper()
	address, err := net.ResolveTCPAddr("tcp", ownAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	l := &logServer{t: t, opts: &server.Options{
		ServerName: "log", Host: "127.0.0.1", Port: address.Port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 4 << 30, JetStreamMaxMemory: 64 << 20,
		SyncInterval: time.Second,
	}}
	l.start()
	t.Cleanup(l.stop)
	return l
}

func (l *logServer) start() {
	l.t.Helper()
	srv, err := server.NewServer(l.opts.Clone())
	if err != nil {
		l.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(deadline) {
		l.t.Fatal("the log's server did not start")
	}
	l.srv = srv
}

func (l *logServer) stop() {
	l.srv.Shutdown()
	l.srv.WaitForShutdown()
}

func (l *logServer) address() string { return l.srv.Addr().String() }

func (l *logServer) url() string { return "nats://" + l.address() }

// js is a connection of its own to the server.
func (l *logServer) js() jetstream.JetStream {
	l.t.Helper()
	nc, err := nats.Connect(l.url())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		l.t.Fatal(err)
	}
	return js
}

// copyStore copies a store that nobody has open.
func copyStore(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// replaceStore puts a copy in the place of a store.
func replaceStore(t *testing.T, store, from string) {
	t.Helper()
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(store, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// remoteConfig is localConfig for a node whose log is elsewhere.
func remoteConfig(t *testing.T, url string, changes ...func(*cmd.NamespaceConfig)) cmd.Config {
	t.Helper()
	cfg := localConfig(t, changes...)
	cfg.Broker.Data, cfg.Broker.DiskBudget, cfg.Broker.NATSURL = "", 0, url
	return cfg
}

// ready waits until a node takes publishes.
func (s *site) ready() {
	s.t.Helper()
	eventually(s.t, "the node to be ready", func() bool {
		return s.call(http.MethodGet, "/readyz", nil, nil).status == http.StatusOK
	})
}

// healed waits until a node that lost its log takes publishes again: what it said
// of its readiness a moment ago may be from before.
func (s *site) healed() {
	s.t.Helper()
	eventually(s.t, "the node to publish again", func() bool {
		return s.post("t:healed", 0, "").status == http.StatusCreated
	})
	s.ready()
}
