package test_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/protocol"
)

// silentBound is within what time a node notices that its NATS server has stopped answering
// (three pings, 5 s apart), goes to another (5 s for each that does not answer either), and
// knows what was revoked meanwhile, as docs/revocation.md has it.
const silentBound = 30 * time.Second

// serveReplicated runs a node on a cluster that wants tokens.
func serveReplicated(t *testing.T, natsURL string) *node {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rivulet.yaml")
	config := "broker: {replicas: 3}\nnamespaces:\n  quiet: {max_bytes: 64MiB, partitions: 1}\nauth: {hmac: {secret: " + memberSecret + "}}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return started(t, start(t, nil, binary(t), "serve", "--config", file, "--listen", "127.0.0.1:0", "--nats-url", natsURL, "--set", "log.format=json"))
}

// trustLeader is the name of the server that leads the API keys and revocations.
func trustLeader(t *testing.T, server *natsProcess) string {
	t.Helper()
	nc, err := nats.Connect(server.url())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(bounded(t), "KV_RIVULET_TRUST")
	if err != nil {
		t.Fatal(err)
	}
	info := s.CachedInfo()
	if info.Config.Replicas != 3 || info.Cluster == nil {
		t.Fatalf("%d replicas", info.Config.Replicas)
	}
	return info.Cluster.Leader
}

// trustful asks a node for what is about API keys and revocations.
func trustful(t *testing.T, n *node, method, target, body string) (status int, data map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), method, n.url()+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+memberToken(t, "root", ""))
	req.Header.Set("Content-Type", "application/json")
	res, err := newCaller(t).http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Data map[string]any }
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return res.StatusCode, answer.Data
}

// within waits until each node answers a token so, and checks how long that took it.
func within(t *testing.T, what, token string, want int, nodes []*node, bounds ...time.Duration) {
	t.Helper()
	caller, begun := newCaller(t), time.Now()
	for i, n := range nodes {
		most := bounds[min(i, len(bounds)-1)]
		await(t, most+deadline, fmt.Sprintf("%s: node %d to answer %d", what, i, want), func() bool {
			return caller.get(t, n.url()+"/v1/channels/quiet:1/messages", token, &struct{}{}) == want
		})
		took := time.Since(begun)
		t.Logf("%s: node %d after %v", what, i, took.Round(time.Millisecond))
		if took > most {
			t.Errorf("%s: node %d needed %v, at most %v are stated", what, i, took, most)
		}
	}
}

// TestTrustInACluster: a revocation and a key hold within a second on nodes that are connected
// to different NATS servers; and where one of these stops answering, on all others still, and
// on its own node when that has gone to another server.
func TestTrustInACluster(t *testing.T) {
	servers := startCluster(t)
	var nodes []*node
	for _, s := range servers {
		nodes = append(nodes, serveReplicated(t, s.url()))
	}
	for i, n := range nodes {
		user := fmt.Sprintf("ann%d", i)
		token := memberToken(t, user, "")
		crowd := holders(t, nodes, token, 30)
		answered := revoke(t, n, `{"user":"`+user+`"}`)
		for _, h := range crowd {
			select {
			case <-h.done:
			case <-time.After(deadline):
				t.Fatal("a connection did not end")
			}
			if took := h.at.Sub(answered); h.code != int(protocol.CloseRevoked) || took > revocationBound {
				t.Errorf("by node %d: closed with %d after %v", i, h.code, took)
			}
		}
		status, data := trustful(t, n, http.MethodPost, "/v1/keys", fmt.Sprintf(`{"name":"k%d","capabilities":{"quiet:>":["history"]}}`, i))
		key, _ := data["key"].(string)
		if status != http.StatusCreated || key == "" {
			t.Fatalf("a key: %d %v", status, data)
		}
		within(t, "a key", key, http.StatusOK, nodes, revocationBound)
		if status, data := trustful(t, n, http.MethodDelete, fmt.Sprintf("/v1/keys/k%d", i), ""); status != http.StatusOK {
			t.Fatalf("revoke the key: %d %v", status, data)
		}
		within(t, "a key that is revoked", key, http.StatusUnauthorized, nodes, revocationBound)
	}

	// A server stops without a word, one that leads nothing of this.
	leader := trustLeader(t, servers[0])
	silent := slices.IndexFunc(servers, func(s *natsProcess) bool { return s.name != leader })
	others := append(append([]*node{}, nodes[:silent]...), nodes[silent+1:]...)
	ordered := append(append([]*node{}, others...), nodes[silent])
	bob := memberToken(t, "bob", "")
	crowd := holders(t, ordered[2:], bob, 5)
	servers[silent].signal(t, syscall.SIGSTOP)
	eventually(t, "a revocation to be stored", func() bool {
		status, _ := trustful(t, others[0], http.MethodPost, "/v1/revocations", `{"user":"bob"}`)
		return status == http.StatusCreated
	})
	within(t, "a revocation past a silent server", bob, http.StatusUnauthorized, ordered, revocationBound, revocationBound, silentBound)
	for _, h := range crowd {
		select {
		case <-h.done:
		case <-time.After(deadline):
			t.Fatal("a connection to the node of the silent server did not end")
		}
		if h.code != int(protocol.CloseRevoked) {
			t.Errorf("closed with %d", h.code)
		}
	}
	servers[silent].signal(t, syscall.SIGCONT)
	revoke(t, others[1], `{"user":"carl"}`)
	within(t, "a revocation when all is well", memberToken(t, "carl", ""), http.StatusUnauthorized, ordered, revocationBound)
}
