package cmd_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
)

// visit opens a connection and has one request answered; 0 is none, the connection is
// closed. The connection stays open until the test ends.
func visit(t *testing.T, address, path, token string) (net.Conn, int) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(deadline))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, token)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return conn, 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return conn, res.StatusCode
}

// TestConnectionsThatAreNoClients: nobody holds more sockets than an address may have,
// by sending a request now and then.
func TestConnectionsThatAreNoClients(t *testing.T) {
	const clients, more = 3, 256
	cfg := guardedConfig(t)
	cfg.Limits.Exempt, cfg.Limits.ConnectionsPerIP = []string{"192.0.2.0/24"}, clients
	n := startNode(t, cfg)
	address := n.Addr().String()
	var list []net.Conn
	for range clients + more {
		conn, status := visit(t, address, "/healthz", "")
		if status != http.StatusOK {
			t.Fatalf("connection %d: status %d", len(list), status)
		}
		list = append(list, conn)
	}
	if _, status := visit(t, address, "/healthz", ""); status != 0 {
		t.Errorf("one more has status %d", status)
	}
	// A client's is counted elsewhere, from when it has its place.
	list[0].Close()
	token := mint(t, auth.Claims{Subject: "ann"}, map[string][]auth.Action{"chat:>": auth.Actions()})
	for i := range clients {
		dial := func() (*websocket.Conn, error) {
			ws, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+address+"/v1/ws", http.Header{"Authorization": {"Bearer " + token}})
			if res != nil {
				res.Body.Close()
			}
			return ws, err
		}
		ws, err := dial()
		for end := time.Now().Add(deadline); err != nil && time.Now().Before(end); { // until the closed one is noticed
			ws, err = dial()
		}
		if err != nil {
			t.Fatalf("WebSocket %d: %v", i, err)
		}
		defer func() { _ = ws.Close() }()
	}
}

// TestRefusedTokensAreBounded: after too many an address is refused before its token is
// checked, also a good one.
func TestRefusedTokensAreBounded(t *testing.T) {
	cfg := guardedConfig(t)
	cfg.Limits.Exempt, cfg.Limits.HandshakesPerIP = []string{"192.0.2.0/24"}, 1 // of which 10 at once
	n := startNode(t, cfg)
	const path = "/v1/keys"
	for i := range 50 {
		if status, _ := callAs(t, n, "GET", path, root(t), ""); status != http.StatusOK {
			t.Fatalf("good token %d: %d", i, status)
		}
	}
	refused := 0
	for range 20 {
		switch status, _ := callAs(t, n, "GET", path, "a.b.c", ""); status {
		case http.StatusUnauthorized:
			refused++
		case http.StatusTooManyRequests:
		default:
			t.Fatalf("a bad token: %d", status)
		}
	}
	if refused < 10 || refused > 18 { // 10, and one for each second that it took
		t.Fatalf("%d bad tokens were looked at, want 10 or little more", refused)
	}
	// One a second is looked at all the same, which may be this one: then the next is not.
	var status int
	var answer string
	for range 20 {
		for status = 0; status != http.StatusTooManyRequests; {
			status, _ = callAs(t, n, "GET", path, "a.b.c", "")
		}
		if status, answer = callAs(t, n, "GET", path, root(t), ""); status == http.StatusTooManyRequests {
			break
		}
	}
	if status != http.StatusTooManyRequests || !strings.Contains(answer, "handshakes_per_ip") {
		t.Errorf("a good token then: %d %s", status, answer)
	}
}
