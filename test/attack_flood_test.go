package test_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// shake does a bare handshake from an address of this machine and returns the status; the
// connection is closed.
func shake(ctx context.Context, base, address string) (int, error) {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: deadline}
	conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	if _, err := conn.Write([]byte("GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + "\r\n")); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}

// intrude opens a WebSocket from an address of this machine.
func intrude(t *testing.T, base, address string) *websocket.Conn {
	t.Helper()
	conn, resp, err := from(address).DialContext(t.Context(), "ws"+strings.TrimPrefix(base, "http")+"/v1/ws", nil)
	if err != nil {
		t.Fatalf("from %s: %v %v", address, err, resp)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestAttackFloods: handshakes, pings, commands and publishes as fast as they come are refused
// with their codes, and take no more memory at their peak than is stated.
func TestAttackFloods(t *testing.T) {
	t.Parallel()
	f := besiege(t, `
namespaces: {t: {max_bytes: 64MiB, channel_publish_rate: 50}}
limits: {exempt: [], handshakes_per_ip: 5, handshakes: 200, handshake_queue: 50, handshake_wait: 2s, commands: 20}
`, "--dev")
	defer f.stands(t, 96<<20)

	// One address, which is let in as often as it may; many, which are let in as fast as all may.
	for name, c := range map[string]struct {
		address func(i int) string
		refusal int
		most    int // let in of 1,000, and 200 a second
	}{
		"one address":     {func(int) string { return "127.0.1.1" }, http.StatusTooManyRequests, 60},
		"1,000 addresses": {func(i int) string { return fmt.Sprintf("127.0.%d.%d", 2+i/250, 1+i%250) }, http.StatusServiceUnavailable, 300},
	} {
		var wg sync.WaitGroup
		var mu sync.Mutex
		statuses, begun := map[int]int{}, time.Now()
		for worker := range 100 {
			wg.Go(func() {
				for i := range 10 {
					status, err := shake(t.Context(), f.url(), c.address(worker*10+i))
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					mu.Lock()
					statuses[status]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		most := c.most + int(200*time.Since(begun).Seconds())
		if n := statuses[http.StatusSwitchingProtocols]; n == 0 || n > most || n+statuses[c.refusal] != 1000 || statuses[c.refusal] == 0 {
			t.Errorf("%s: 1,000 handshakes were answered %v; want at most %d let in, all others %d", name, statuses, most, c.refusal)
		}
	}

	// What a connection sends without end.
	for i, flood := range []struct {
		name  string
		write func(conn *websocket.Conn, i int) error
	}{
		{"pings", func(conn *websocket.Conn, _ int) error {
			return conn.WriteControl(websocket.PingMessage, []byte(strings.Repeat("x", 125)), time.Now().Add(deadline))
		}},
		{"pongs", func(conn *websocket.Conn, _ int) error {
			return conn.WriteControl(websocket.PongMessage, []byte(strings.Repeat("x", 125)), time.Now().Add(deadline))
		}},
		{"commands", func(conn *websocket.Conn, i int) error {
			return conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"ping":{}}`, i))
		}},
		{"commands that are none", func(conn *websocket.Conn, i int) error {
			return conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"subscribe":{"channel":"t:a..b"}}`, i))
		}},
		{"subscribe and unsubscribe", func(conn *websocket.Conn, i int) error {
			return conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"%s":{"channel":"t:a"}}`, i, []string{"subscribe", "unsubscribe"}[i%2]))
		}},
	} {
		if closed, codes := overflow(t, intrude(t, f.url(), fmt.Sprintf("127.0.9.%d", 1+i)), flood.write); closed != 4204 {
			t.Errorf("%s: closed with %d, want 4204; answered with %v", flood.name, closed, codes)
		}
	}

	// Publishes over their limit are answered slowly, and so may never be too many commands.
	conn := intrude(t, f.url(), "127.0.9.99")
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := 1; conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"publish":{"channel":"t:a","data":"%s"}}`, i, strings.Repeat("x", 10_000))) == nil; i++ {
		}
	})
	defer sending.Wait()
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	for refused := 0; refused < 200; {
		var ev struct{ Error *struct{ Code int } }
		err := conn.ReadJSON(&ev)
		if e, ok := err.(*websocket.CloseError); ok && e.Code == 4204 { //nolint:errorlint // gorilla's own
			break
		}
		if err != nil {
			t.Fatalf("publishes: %v after %d were refused", err, refused)
		}
		if ev.Error != nil && ev.Error.Code == 4429 {
			refused++
		}
	}
}

// overflow is drown for what may be answered with errors of other kinds, too.
func overflow(t *testing.T, conn *websocket.Conn, write func(conn *websocket.Conn, i int) error) (closed int, codes map[int]int) {
	t.Helper()
	codes = map[int]int{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; write(conn, i) == nil; i++ {
		}
	})
	defer wg.Wait()
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	for {
		var ev struct{ Error *struct{ Code int } }
		err := conn.ReadJSON(&ev)
		if e, ok := err.(*websocket.CloseError); ok { //nolint:errorlint // gorilla's own
			return e.Code, codes
		}
		if err != nil {
			return 0, codes
		}
		if ev.Error != nil {
			codes[ev.Error.Code]++
		}
	}
}

// TestAttackSubscriptions: of 100,000 subscriptions of one connection those that it may have are
// there, all others are refused, and the memory is that of the former.
func TestAttackSubscriptions(t *testing.T) {
	t.Parallel()
	f := besiege(t, "namespaces: {t: {max_bytes: 64MiB}}\nlimits: {commands: 0, reads_per_caller: 0}\n", "--dev")
	defer f.stands(t, 96<<20)
	const flood, most = 100_000, 1000
	long := strings.Repeat("x", 180) // a name of 200 bytes at most
	for kind, channel := range map[string]string{"channels": "t:" + long + ".%d", "patterns": "t:" + long + ".%d.>"} {
		conn := intrude(t, f.url(), "127.0.0.1")
		_ = conn.SetReadDeadline(time.Now().Add(4 * deadline))
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 1; i <= flood; i++ {
				if conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"subscribe":{"channel":"`+channel+`"}}`, i, i)) != nil {
					return
				}
			}
		})
		counts := map[string]int{}
		for answered := 0; answered < flood; {
			var ev struct {
				ID         int
				Subscribed *struct{}
				Error      *struct{ Code int }
			}
			if err := conn.ReadJSON(&ev); err != nil {
				t.Errorf("%s: after %d: %v", kind, answered, err)
				break
			}
			switch {
			case ev.ID == 0:
				continue
			case ev.Subscribed != nil:
				counts["subscribed"]++
			case ev.Error != nil:
				counts[fmt.Sprint(ev.Error.Code)]++
			}
			answered++
		}
		_ = conn.Close()
		wg.Wait()
		if counts["subscribed"] != most || counts["4403"] != flood-most {
			t.Errorf("%s: %d were answered %v; want %d subscribed, all others 4403", kind, flood, counts, most)
		}
	}
}

// TestAttackGuesses: keys and tokens that are tried as fast as they come are answered 401, and
// leave nothing behind.
func TestAttackGuesses(t *testing.T) {
	t.Parallel()
	f := besiege(t, fmt.Sprintf("namespaces: {t: {max_bytes: 64MiB}}\nauth: {hmac: {secret: %s}, keys: [{name: shop, sha256: %q, capabilities: {'t:>': [publish]}}]}\n",
		attackSecret, strings.Repeat("5e", 32)))
	defer f.stands(t, 48<<20)
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: deadline}
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := range 500 {
				guess := strings.Repeat(string(rune('a'+worker)), 1+i*15) // up to 7.5 KB
				switch i % 3 {
				case 1:
					guess = fmt.Sprintf("rvk_%043d", worker*1000+i)
				case 2:
					guess = fmt.Sprintf("eyJhbGciOiJIUzI1NiJ9.e30.%d", worker*1000+i)
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url()+messagesPath("t:a"), http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+guess)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("a guess of %d bytes: %d", len(guess), resp.StatusCode)
				}
			}
		})
	}
	wg.Wait()
}
