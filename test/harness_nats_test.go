package test_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// With natsStore in its environment, this test binary is a NATS server.
const (
	natsStore = "RIVULET_TEST_NATS_STORE"
	natsPort  = "RIVULET_TEST_NATS_PORT"
	// natsPeers are the addresses between the servers of a cluster, its own first; without
	// them it is alone.
	natsPeers = "RIVULET_TEST_NATS_PEERS"
)

// natsServer runs a NATS server with JetStream in the folder until SIGTERM, and
// returns its exit code.
func natsServer(store, port string) int {
	n, err := strconv.Atoi(port)
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats-server: port:", err)
		return 2
	}
	opts := &server.Options{
		ServerName: "log", Host: "127.0.0.1", Port: n, JetStream: true, StoreDir: store,
		JetStreamMaxStore: 8 << 30, JetStreamMaxMemory: 64 << 20, NoSigs: true, SyncInterval: time.Second,
	}
	if peers := os.Getenv(natsPeers); peers != "" {
		if err := joinPeers(opts, strings.Split(peers, ",")); err != nil {
			fmt.Fprintln(os.Stderr, "nats-server: peers:", err)
			return 2
		}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats-server:", err)
		return 1
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	srv.Start()
	if !srv.ReadyForConnections(deadline) || !srv.JetStreamEnabled() {
		fmt.Fprintln(os.Stderr, "nats-server: did not start")
		return 1
	}
	fmt.Fprintln(os.Stderr, "nats-server listens")
	<-signals
	srv.Shutdown()
	srv.WaitForShutdown()
	return 0
}

// joinPeers makes a server one of a cluster; of the addresses the first is its own.
func joinPeers(opts *server.Options, peers []string) error {
	_, port, err := net.SplitHostPort(peers[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	opts.ServerName = serverName(peers[0])
	opts.Cluster = server.ClusterOpts{Name: "logs", Host: "127.0.0.1", Port: n}
	for _, peer := range peers[1:] {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: peer})
	}
	return nil
}

func serverName(peer string) string { return "log-" + strings.ReplaceAll(peer, ".", "-") }

// startCluster runs three NATS servers that know each other, and tell their clients so.
func startCluster(t *testing.T) (servers []*natsProcess) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	peers := []string{ownAddress(t), ownAddress(t), ownAddress(t)}
	for i, peer := range peers {
		address := ownAddress(t)
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		own := append(slices.Clone(peers[i:]), peers[:i]...)
		p := start(t, []string{natsStore + "=" + t.TempDir(), natsPort + "=" + port, natsPeers + "=" + strings.Join(own, ",")}, self)
		servers = append(servers, &natsProcess{process: p, address: address, name: serverName(peer)})
	}
	for _, s := range servers {
		s.stderr.waitFor(t, "nats-server listens")
	}
	return servers
}

// natsProcess is a NATS server as a process of its own.
type natsProcess struct {
	*process
	address string
	name    string // in a cluster
}

func (n *natsProcess) url() string { return "nats://" + n.address }

// startNATS runs a NATS server on the folder and waits until it listens.
func startNATS(t *testing.T, store, address string) *natsProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, []string{natsStore + "=" + store, natsPort + "=" + port}, self)
	p.stderr.waitFor(t, "nats-server listens")
	return &natsProcess{process: p, address: address}
}

// serveOn starts a node without a log of its own and waits until it listens.
func serveOn(t *testing.T, natsURL, listen string, args ...string) *node {
	t.Helper()
	args = append([]string{"serve", "--dev", "--listen", listen, "--nats-url", natsURL}, args...)
	return started(t, start(t, nil, binary(t), args...))
}

// started waits until a node listens.
func started(t *testing.T, p *process) *node {
	t.Helper()
	var said struct{ Address string }
	line := p.stderr.waitFor(t, `"msg":"started"`)
	if err := json.Unmarshal([]byte(line), &said); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return &node{p, said.Address}
}

// kill ends a process as a crash does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	_ = p.wait(t) // by the signal
}

// stop ends a node as an operator does.
func (n *node) stop(t *testing.T) {
	t.Helper()
	n.signal(t, syscall.SIGTERM)
	if err := n.wait(t); err != nil {
		t.Errorf("ended with %v, want exit code 0; stderr:\n%s", err, tail(n.stderr.String()))
	}
}

// tail is the end of a long log.
func tail(log string) string {
	lines := strings.SplitAfter(log, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

// ownAddress is a free address on loopback that stays free while whoever listens
// there is restarted: the system gives such ports to no outgoing connection.
func ownAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000))))
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port found")
	return ""
}
