package test_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"

	"github.com/rivulet-rt/rivulet/protocol"
)

var revokedConnections = flag.Int("revocation.connections", 300, "connections that TestRevocationAcrossNodes ends with one revocation")

// revocationBound is how long after the answer a revocation holds everywhere.
const revocationBound = time.Second

// holder is a bare connection, and how it ended.
type holder struct {
	conn *websocket.Conn
	done chan struct{}
	at   time.Time // of the end, once done is closed
	code int
}

// holders connects n of a user, spread over the nodes.
func holders(t *testing.T, nodes []*node, token string, n int) []*holder {
	t.Helper()
	list := make([]*holder, n)
	var reading sync.WaitGroup
	t.Cleanup(func() {
		for _, h := range list {
			if h != nil {
				_ = h.conn.Close()
			}
		}
		reading.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(32)
	for i := range list {
		group.Go(func() error {
			conn, res, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+nodes[i%len(nodes)].address+"/v1/ws",
				http.Header{"Authorization": {"Bearer " + token}})
			if err != nil {
				return err
			}
			_ = res.Body.Close()
			h := &holder{conn: conn, done: make(chan struct{})}
			if err := (&attendant{conn: conn}).subscribe(fmt.Sprintf("quiet:%d", i%100)); err != nil {
				return err
			}
			list[i] = h
			reading.Go(func() {
				defer close(h.done)
				for {
					if _, _, err := conn.ReadMessage(); err != nil {
						h.at = time.Now()
						if e, ok := err.(*websocket.CloseError); ok { //nolint:errorlint // as the library returns it
							h.code = e.Code
						}
						return
					}
				}
			})
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return list
}

// revoke has a node revoke and returns when it has answered.
func revoke(t *testing.T, n *node, body string) time.Time {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), http.MethodPost, n.url()+"/v1/revocations", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+memberToken(t, "root", ""))
	req.Header.Set("Content-Type", "application/json")
	res, err := newCaller(t).http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("revoke: %d %s", res.StatusCode, answer)
	}
	return time.Now()
}

// TestRevocationAcrossNodes: whatever rests on a revoked token ends on all nodes within
// the bound, over WebSocket, event streams and polls, and nothing else does.
func TestRevocationAcrossNodes(t *testing.T) {
	log := startNATS(t, t.TempDir(), ownAddress(t))
	nodes := []*node{servePresence(t, log.url(), "127.0.0.1:0"), servePresence(t, log.url(), "127.0.0.1:0")}
	ann := memberToken(t, "ann", "")
	began := time.Now()
	anns := holders(t, nodes, ann, *revokedConnections)
	bobs := holders(t, nodes, memberToken(t, "bob", ""), 20)
	t.Logf("%d connections in %v", len(anns)+len(bobs), time.Since(began).Round(time.Millisecond))
	var others sync.WaitGroup
	ends := make([]time.Time, 4)
	texts := make([]string, len(ends))
	for i := range ends {
		target := "/v1/events?channel=quiet:e"
		if i >= 2 {
			target = "/v1/poll?timeout=60&channel=quiet:p"
		}
		req, err := http.NewRequestWithContext(bounded(t), http.MethodGet, nodes[i%2].url()+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+ann)
		others.Go(func() {
			res, err := newCaller(t).http.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			text, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			ends[i], texts[i] = time.Now(), fmt.Sprint(res.StatusCode)+" "+string(text)
		})
	}
	caller := newCaller(t)
	await(t, deadline, "the event streams and polls to be there", func() bool {
		n := 0
		for _, node := range nodes {
			text := metricsOf(t, node)
			n += strings.Count(text, `rivulet_session_connections{transport="poll"} 1`) + strings.Count(text, `rivulet_session_connections{transport="sse"} 1`)
		}
		return n == len(ends)
	})

	answered := revoke(t, nodes[0], `{"user":"ann"}`)
	var took []time.Duration
	limit := time.After(deadline)
	for _, h := range anns {
		select {
		case <-h.done:
		case <-limit:
			t.Fatalf("%d of %d ended", len(took), len(anns))
		}
		if h.code != int(protocol.CloseRevoked) {
			t.Fatalf("closed with %d", h.code)
		}
		took = append(took, h.at.Sub(answered))
	}
	others.Wait()
	for i, text := range texts {
		took = append(took, ends[i].Sub(answered))
		if want := map[bool]string{true: fmt.Sprint(int(protocol.CloseRevoked)), false: "401 "}[i < 2]; !strings.Contains(text, want) {
			t.Errorf("an event stream or poll ended with %s", text)
		}
	}
	slices.Sort(took)
	t.Logf("%d connections on 2 nodes: half ended %v after the answer, the last %v after it",
		len(took), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if last := took[len(took)-1]; last > revocationBound {
		t.Errorf("the last ended after %v", last)
	}
	for _, n := range nodes {
		if status := caller.get(t, n.url()+"/v1/channels/quiet:1", ann, &struct{}{}); status != http.StatusUnauthorized {
			t.Errorf("the token is answered with %d", status)
		}
	}
	for _, h := range bobs {
		select {
		case <-h.done:
			t.Errorf("another user's connection was closed with %d", h.code)
		default:
		}
	}

	// A node that comes later knows, and one that was restarted has not forgotten.
	third := servePresence(t, log.url(), "127.0.0.1:0")
	nodes[1].kill(t)
	for _, n := range []*node{third, servePresence(t, log.url(), "127.0.0.1:0")} {
		if status := caller.get(t, n.url()+"/v1/channels/quiet:1", ann, &struct{}{}); status != http.StatusUnauthorized {
			t.Errorf("a node that came later answers %d", status)
		}
	}
}

func metricsOf(t *testing.T, n *node) string {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), http.MethodGet, n.url()+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := newCaller(t).http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
