package test_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// askedHook is what a test's hook is asked, of all kinds.
type askedHook struct {
	Type     string
	User     string
	Channel  string
	Client   string
	Pattern  bool
	Headers  map[string]string
	Messages []struct {
		Channel string
		Data    json.RawMessage
	}
}

// answerHooks serves hooks: answer returns the answer, or "" to give none.
func answerHooks(t *testing.T, answer func(askedHook) string) string {
	t.Helper()
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q askedHook
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			return // the node has gone
		}
		if text := answer(q); text != "" {
			_, _ = fmt.Fprint(w, text)
			return
		}
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	t.Cleanup(func() { close(ended); server.Close() })
	return server.URL
}

func serveHooked(t *testing.T, config string) *node {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rivulet.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return started(t, start(t, nil, binary(t), "serve", "--dev", "--config", file, "--listen", ownAddress(t), "--data", t.TempDir(), "--disk-budget", "4GiB"))
}

// hookedEvent is what the tests read of an event.
type hookedEvent struct {
	ID        uint64
	Connected *struct{ Client string }
	Published *struct{ Offset uint64 }
	Error     *struct {
		Code    int
		Message string
	}
	Pong         *struct{}
	Subscribed   *struct{ Channel string }
	Unsubscribed *struct{ Channel string }
}

// wsTalk is a connection by hand: commands go out without waiting for answers.
type wsTalk struct {
	t    *testing.T
	conn *websocket.Conn
}

func talk(t *testing.T, n *node, header http.Header) *wsTalk {
	t.Helper()
	conn, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(n.url(), "http")+"/v1/ws", header)
	if err != nil {
		t.Fatal(err, resp)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	return &wsTalk{t, conn}
}

func (w *wsTalk) send(format string, args ...any) {
	w.t.Helper()
	if err := w.conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		w.t.Fatal(err)
	}
}

// read returns the next events that are answers; a frame may have several, one a line.
func (w *wsTalk) read() (events []hookedEvent) {
	w.t.Helper()
	for len(events) == 0 {
		_, frame, err := w.conn.ReadMessage()
		if err != nil {
			w.t.Fatal(err)
		}
		for dec := json.NewDecoder(strings.NewReader(string(frame))); dec.More(); {
			var e hookedEvent
			if err := dec.Decode(&e); err != nil {
				w.t.Fatalf("%v in %.200s", err, frame)
			}
			if e.ID != 0 {
				events = append(events, e)
			}
		}
	}
	return events
}

// until reads until the command with the ID is answered, and returns all answers.
func (w *wsTalk) until(id uint64) map[uint64]hookedEvent {
	w.t.Helper()
	got := map[uint64]hookedEvent{}
	for {
		for _, e := range w.read() {
			got[e.ID] = e
		}
		if _, ok := got[id]; ok {
			return got
		}
	}
}

const hookedNamespaces = `
namespaces:
  free: {}
  slow: {hooks: {publish: {url: %[1]q, secret: 0123456789abcdef, timeout: 5s, retries: -1}, subscribe: {url: %[1]q, secret: 0123456789abcdef, timeout: 5s, retries: -1}}}
`

// TestHangingHookHoldsUpNothingElse: neither other namespaces nor other commands of the
// same connection wait for it, nor is the node unready.
func TestHangingHookHoldsUpNothingElse(t *testing.T) {
	n := serveHooked(t, fmt.Sprintf(hookedNamespaces, answerHooks(t, func(askedHook) string { return "" })))
	w := talk(t, n, nil)
	const first = 1000
	begun := time.Now()
	for i := range 300 { // far more than may wait
		w.send(`{"id":%d,"publish":{"channel":"slow:x","data":%d}}`, first+i, i)
	}
	w.send(`{"id":2000,"subscribe":{"channel":"slow:x"}}`)
	for id := range uint64(100) {
		w.send(`{"id":%d,"publish":{"channel":"free:x","data":1}}`, id+1)
	}
	got := w.until(100)
	w.send(`{"id":101,"ping":{}}`)
	if e := w.until(101)[101]; e.Pong == nil {
		t.Errorf("%+v", e)
	}
	w.send(`{"id":102,"unsubscribe":{"channel":"slow:x"}}`)
	if e := w.until(102)[102]; e.Unsubscribed == nil {
		t.Errorf("unsubscribe while the hook is asked: %+v", e)
	}
	if status := statusOf(t, n, http.MethodGet, "/readyz", ""); status != http.StatusOK {
		t.Errorf("readyz: %d", status)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("all that needs no hook took %v, as long as the hook's timeout", took)
	}
	refused := 0
	for id := range uint64(100) {
		if got[id+1].Published == nil {
			t.Errorf("%d: %+v", id+1, got[id+1])
		}
	}
	for id, e := range got {
		if id >= first && e.Error != nil && e.Error.Code == 4429 {
			refused++
		}
	}
	if refused == 0 {
		t.Error("300 publishes wait for a hook, without a bound")
	}
	if e := w.until(2000)[2000]; e.Error == nil || e.Error.Code != 4404 {
		t.Errorf("a subscription that was taken back: %+v", e)
	}
}

// TestHookedPublishesKeepTheirOrder, however long the hook takes over each; what is denied
// is not stored.
func TestHookedPublishesKeepTheirOrder(t *testing.T) {
	asked := 0
	n := serveHooked(t, fmt.Sprintf(hookedNamespaces, answerHooks(t, func(q askedHook) string {
		var results []string
		for _, m := range q.Messages {
			asked++ // one connection asks one after the other
			text := `{"allow":true}`
			if string(m.Data) == "13" {
				text = `{"allow":false,"message":"thirteen"}`
			}
			results = append(results, text)
		}
		time.Sleep(time.Duration(asked%7) * time.Millisecond) //nolint:forbidigo // the hook's own time
		return `{"results":[` + strings.Join(results, ",") + `]}`
	})))
	w := talk(t, n, nil)
	for id := uint64(1); id <= 30; id++ {
		w.send(`{"id":%d,"publish":{"channel":"slow:x","data":%d}}`, id, id)
	}
	offset := uint64(0)
	got := w.until(30)
	for id := uint64(1); id <= 30; id++ {
		e := got[id]
		switch {
		case id == 13:
			if e.Error == nil || e.Error.Code != 4403 || e.Error.Message != "thirteen" {
				t.Errorf("%+v", e.Error)
			}
		case e.Published == nil:
			t.Fatalf("%d: %+v", id, e.Error)
		case e.Published.Offset != offset+1:
			t.Fatalf("%d has the offset %d after %d", id, e.Published.Offset, offset)
		default:
			offset++
		}
	}
	for body, want := range map[string]int{`{"data":1}`: http.StatusCreated, `{"data":13}`: http.StatusForbidden} {
		if status := statusOf(t, n, http.MethodPost, "/v1/channels/slow:y/messages", body); status != want {
			t.Errorf("%s: %d, want %d", body, status, want)
		}
	}
}

// TestConnectHook gives claims within what is granted, is told the headers that are named
// alone, and refuses.
func TestConnectHook(t *testing.T) {
	url := answerHooks(t, func(q askedHook) string {
		if _, told := q.Headers["Authorization"]; told || q.Headers["X-Tenant"] == "evil" {
			return `{"allow":false,"message":"go away"}`
		}
		if q.Headers["X-Tenant"] == "sloppy" {
			return `{"allow":true,"caps":{}}` // which must not give all of the grants
		}
		return `{"allow":true,"claims":{"sub":"alice","caps":{"free:alice":["publish"],"free:>":["publish"],"slow:>":["subscribe"]}}}`
	})
	n := serveHooked(t, `
namespaces: {free: {}, slow: {}}
auth: {connect_hook: {instead_of_token: true, headers: [X-Tenant], grants: {"free:${sub}": [publish]}, hook: {url: "`+url+`", secret: 0123456789abcdef}}}
`)
	w := talk(t, n, http.Header{"X-Tenant": {"good"}, "Authorization": {"Bearer opaque"}})
	for id, c := range []struct {
		command string
		allowed bool
	}{
		1: {`"publish":{"channel":"free:alice","data":1}`, true},
		2: {`"publish":{"channel":"free:bob","data":1}`, false},
		3: {`"subscribe":{"channel":"slow:x"}`, false},
	} {
		if id == 0 {
			continue
		}
		w.send(`{"id":%d,%s}`, id, c.command)
		e := w.until(uint64(id))[uint64(id)]
		if c.allowed != (e.Error == nil) || !c.allowed && e.Error.Code != 4403 {
			t.Errorf("%s: %+v", c.command, e.Error)
		}
	}
	for tenant, status := range map[string]int{"evil": http.StatusForbidden, "sloppy": http.StatusServiceUnavailable} {
		_, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(n.url(), "http")+"/v1/ws", http.Header{"X-Tenant": {tenant}})
		if err == nil || resp == nil || resp.StatusCode != status {
			t.Fatalf("%s: %v, %v", tenant, resp, err)
		}
		_ = resp.Body.Close()
	}
	late := talk(t, n, nil) // nothing to judge it by: it waits for connect
	late.send(`{"id":1,"connect":{"token":"opaque"}}`)
	if e := late.until(1)[1]; e.Connected == nil {
		t.Errorf("%+v", e.Error)
	}
}

func statusOf(t *testing.T, n *node, method, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, n.url()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
