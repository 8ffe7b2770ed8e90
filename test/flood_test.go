package test_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/cmd"
)

// Floods, one of each kind, from one address: each ends with the code that the docs give
// it, costs the node no more memory than is stated here, and leaves it open to others.

// flooded starts a node for which the addresses of this machine are no exception. Its
// memory, and the test's, may grow by so many bytes.
func flooded(t *testing.T, growth uint64, change func(*cmd.LimitsConfig)) *local {
	t.Helper()
	cfg := localConfig(t)
	cfg.Limits.Exempt = nil
	change(&cfg.Limits)
	n := startLogging(t, cfg, complaints{slog.DiscardHandler, t})
	n.publish("t:a", "warm")
	before := lives()
	t.Cleanup(func() {
		if after := lives(); after > before+growth {
			t.Errorf("memory grew by %d KiB, at most %d may be", (after-before)>>10, growth>>10)
		}
		dialFrom(t, n, "127.0.0.9") // somebody else is let in
	})
	return n
}

func lives() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one only queued
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func from(address string) *websocket.Dialer {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &websocket.Dialer{NetDialContext: d.DialContext, HandshakeTimeout: deadline}
}

func socketURL(n *local) string { return "ws" + strings.TrimPrefix(n.base, "http") + "/v1/ws" }

func dialFrom(t *testing.T, n *local, address string) *websocket.Conn {
	t.Helper()
	conn, resp, err := from(address).Dial(socketURL(n), nil)
	if err != nil {
		t.Fatalf("from %s: %v %v", address, err, resp)
	}
	resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// refusedHandshake dials, and returns the status and when to come back.
func refusedHandshake(t *testing.T, n *local, address, query string) (status int, retry time.Duration) {
	t.Helper()
	conn, resp, err := from(address).Dial(socketURL(n)+query, nil)
	if err == nil {
		resp.Body.Close()
		_ = conn.Close()
		return resp.StatusCode, 0
	}
	if resp == nil {
		t.Errorf("no answer: %v", err)
		return 0, 0
	}
	defer resp.Body.Close()
	var body struct {
		Code int
		Data struct {
			RetryAfterMS int64 `json:"retry_after_ms"`
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Code != resp.StatusCode {
		t.Errorf("status %d with the body %+v: %v", resp.StatusCode, body, err)
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	retry = time.Duration(body.Data.RetryAfterMS) * time.Millisecond
	if err != nil || retry <= 0 || time.Duration(seconds)*time.Second < retry {
		t.Errorf("status %d with Retry-After %q and retry_after_ms %v", resp.StatusCode, resp.Header.Get("Retry-After"), retry)
	}
	return resp.StatusCode, retry
}

func TestHandshakeFlood(t *testing.T) {
	n := flooded(t, 16<<20, func(l *cmd.LimitsConfig) { l.HandshakesPerIP = 5 })
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range 20 {
		wg.Go(func() {
			for range 20 {
				status, _ := refusedHandshake(t, n, "127.0.0.2", "")
				mu.Lock()
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if statuses[101] < 50 || statuses[101] > 100 || statuses[101]+statuses[429] != 400 {
		t.Errorf("of 400 handshakes: %v; want about 50 let in, all others 429", statuses)
	}
}

func TestHandshakeStorm(t *testing.T) {
	n := flooded(t, 16<<20, func(l *cmd.LimitsConfig) {
		l.HandshakesPerIP, l.Handshakes, l.HandshakeQueue, l.HandshakeWait = 0, 20, 40, cmd.Duration(20*time.Second)
	})
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	var first, last time.Duration = time.Hour, 0
	for range 200 {
		wg.Go(func() {
			status, retry := refusedHandshake(t, n, "127.0.0.2", "")
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
			if status == http.StatusServiceUnavailable {
				first, last = min(first, retry), max(last, retry)
			}
		})
	}
	wg.Wait()
	if statuses[101] < 60 || statuses[101]+statuses[503] != 200 || statuses[503] < 60 {
		t.Errorf("of 200 at once: %v; want 20 let in at once, 40 after a wait and some since, the rest 503", statuses)
	}
	if last-first < time.Second {
		t.Errorf("the refused are to come back after %v to %v; want them spread", first, last)
	}
}

func TestConnectionsOfOneAddress(t *testing.T) {
	n := flooded(t, 16<<20, func(l *cmd.LimitsConfig) { l.ConnectionsPerIP = 3 })
	conns := []*websocket.Conn{dialFrom(t, n, "127.0.0.2"), dialFrom(t, n, "127.0.0.2"), dialFrom(t, n, "127.0.0.2")}
	if status, _ := refusedHandshake(t, n, "127.0.0.2", ""); status != http.StatusTooManyRequests {
		t.Errorf("a fourth: %d", status)
	}
	_ = conns[0].Close()
	eventually(t, "a place", func() bool {
		status, _ := refusedHandshake(t, n, "127.0.0.2", "")
		return status == http.StatusSwitchingProtocols
	})
}

// drown writes what write does until the node closes, and returns the code of that, and
// the codes of the answers.
func drown(t *testing.T, conn *websocket.Conn, write func(i int) error) (closed int, codes map[int]int) {
	t.Helper()
	codes = map[int]int{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; write(i) == nil; i++ {
		}
	})
	defer wg.Wait()
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	for {
		_, text, err := conn.ReadMessage()
		if e, ok := errors.AsType[*websocket.CloseError](err); ok {
			_ = conn.Close()
			return e.Code, codes
		}
		if err != nil {
			t.Errorf("it ended with %v", err)
			_ = conn.Close()
			return 0, codes
		}
		var ev struct {
			Error *struct {
				Code         int
				RetryAfterMS int `json:"retry_after_ms"`
			}
		}
		if json.Unmarshal(text, &ev) == nil && ev.Error != nil {
			codes[ev.Error.Code]++
			if ev.Error.RetryAfterMS <= 0 {
				t.Errorf("an error without a time: %s", text)
			}
		}
	}
}

func TestCommandFlood(t *testing.T) {
	n := flooded(t, 16<<20, func(l *cmd.LimitsConfig) { l.Commands = 20 })
	conn := dialFrom(t, n, "127.0.0.2")
	closed, codes := drown(t, conn, func(i int) error {
		return conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"ping":{}}`, i))
	})
	if closed != 4204 || codes[4429] < 150 || codes[4429] > 250 {
		t.Errorf("closed with %d after the answers %v; want 4204 after some 200 of 4429", closed, codes)
	}
	if status, retry := refusedHandshake(t, n, "127.0.0.2", ""); status != http.StatusTooManyRequests || retry < time.Second {
		t.Errorf("back at once: %d, %v; want 429 for a while", status, retry)
	}
}

func TestPingFlood(t *testing.T) {
	n := flooded(t, 16<<20, func(l *cmd.LimitsConfig) { l.Commands = 20 })
	conn := dialFrom(t, n, "127.0.0.2")
	closed, _ := drown(t, conn, func(int) error {
		return conn.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(deadline))
	})
	if closed != 4204 {
		t.Errorf("closed with %d, want 4204", closed)
	}
}

func TestFloodOfSubscriptions(t *testing.T) {
	const flood = 100_000
	n := flooded(t, 32<<20, func(l *cmd.LimitsConfig) { l.Commands, l.ReadsPerCaller = 0, 0 })
	conn := dialFrom(t, n, "127.0.0.2")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; i <= flood; i++ {
			if conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"subscribe":{"channel":"t:x.%d"}}`, i, i)) != nil {
				return
			}
		}
	})
	defer wg.Wait()
	subscribed, refused := 0, 0
	_ = conn.SetReadDeadline(time.Now().Add(4 * deadline))
	for subscribed+refused < flood {
		_, text, err := conn.ReadMessage()
		if err != nil {
			t.Fatalf("after %d: %v", subscribed+refused, err)
		}
		switch s := string(text); {
		case strings.Contains(s, `"subscribed"`):
			subscribed++
		case strings.Contains(s, `"code":4403`):
			refused++
		case strings.Contains(s, `"error"`):
			t.Fatal(s)
		}
	}
	if subscribed != 1000 {
		t.Errorf("%d subscriptions, want 1000", subscribed)
	}
}

func TestFloodOfBatches(t *testing.T) {
	n := flooded(t, 24<<20, func(l *cmd.LimitsConfig) { l.PublishesPerChannel = 100 })
	one := `{"channel":"t:flood","data":"` + strings.Repeat("x", 200) + `"}`
	batch := func(messages int) []byte {
		return []byte(`{"messages":[` + strings.Repeat(one+",", messages-1) + one + `]}`)
	}
	if a := n.call(http.MethodPost, "/v1/messages", nil, batch(1001)); a.status != http.StatusBadRequest {
		t.Errorf("1001 messages: %d %s", a.status, a.Message)
	}
	if a := n.call(http.MethodPost, "/v1/messages", nil, []byte(`{"messages":["`+strings.Repeat("x", 17<<20)+`"]}`)); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("17 MiB: %d %s", a.status, a.Message)
	}
	large := batch(1000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				a := n.call(http.MethodPost, "/v1/messages", nil, large)
				if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
					t.Errorf("a batch over the limit: %d %s, Retry-After %q", a.status, a.Message, a.header.Get("Retry-After"))
				}
			}
		})
	}
	begin := time.Now()
	wg.Wait()
	stored, most := len(n.history("t:flood", "")), 200+int(100*(time.Since(begin).Seconds()+1))
	if stored < 200 || stored > most {
		t.Errorf("%d messages are stored of a flood, want 200 and 100 a second, at most %d", stored, most)
	}
	atomic := append([]byte(`{"atomic":true,`), large[1:]...)
	eventually(t, "an atomic batch over the limit to be refused whole", func() bool {
		return n.call(http.MethodPost, "/v1/messages", nil, atomic).status == http.StatusTooManyRequests
	})
}

func TestPublishesOfASocketAreLimited(t *testing.T) {
	n := flooded(t, 16<<20, func(l *cmd.LimitsConfig) { l.PublishesPerChannel = 5 })
	conn := dialFrom(t, n, "127.0.0.2")
	const flood = 30
	for i := 1; i <= flood; i++ {
		if err := conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"publish":{"channel":"t:ws","data":%d}}`, i, i)); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	published, refused := 0, 0
	for published+refused < flood {
		_, text, err := conn.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		switch s := string(text); {
		case strings.Contains(s, `"published"`):
			published++
		case strings.Contains(s, `"code":4429`) && strings.Contains(s, `"retry_after_ms":`):
			refused++
		}
	}
	if published < 10 || refused == 0 || len(n.history("t:ws", "")) != published {
		t.Errorf("%d published and %d refused; the log has %d", published, refused, len(n.history("t:ws", "")))
	}
}

// TestOutboundBytesArePacedWithoutLoss: more than a connection may get in a second comes
// later, whole and in order.
func TestOutboundBytesArePacedWithoutLoss(t *testing.T) {
	const messages, size = 40, 1000
	n := flooded(t, 16<<20, func(l *cmd.LimitsConfig) { l.OutboundBytes = 16 << 10 })
	conn := dialFrom(t, n, "127.0.0.2")
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"id":1,"subscribe":{"channel":"t:paced"}}`)); err != nil {
		t.Fatal(err)
	}
	read := func() (m struct {
		Subscribed, Gap *struct{}
		Message         *struct{ Data string }
	},
	) {
		_ = conn.SetReadDeadline(time.Now().Add(deadline))
		if err := conn.ReadJSON(&m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	for read().Subscribed == nil {
	}
	begin := time.Now()
	for i := range messages {
		n.publish("t:paced", fmt.Sprintf("%03d%s", i, strings.Repeat("x", size)))
	}
	for i := 0; i < messages; {
		m := read()
		if m.Gap != nil {
			t.Fatal("a gap")
		}
		if m.Message == nil {
			continue
		}
		if got := m.Message.Data[:3]; got != fmt.Sprintf("%03d", i) {
			t.Fatalf("message %s, want %d", got, i)
		}
		i++
	}
	// 40 KB at 16 KiB a second, of which one second's worth comes at once.
	if took := time.Since(begin); took < time.Second {
		t.Errorf("all came within %v", took)
	}
}
