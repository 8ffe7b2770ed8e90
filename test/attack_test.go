package test_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// The attacks of docs/security.md, on a node as it runs: a process of its own, whose memory
// is measured at its peak. Each has the code it is answered with and a bound of memory, and
// after each the node serves others. Floods are in flood_test.go, single frames in
// conformance; what a token may hold is tried at length in auth.

const attackSecret = "a-secret-of-the-attacked-node-that-protects-nothing"

// fortress is a node that is attacked.
type fortress struct {
	*node
	before int64 // its memory, in bytes
}

func besiege(t *testing.T, config string, args ...string) *fortress {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rivulet.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"serve", "--config", file, "--listen", ownAddress(t), "--data", t.TempDir(), "--disk-budget", "4GiB", "--set", "log.format=json"}, args...)
	n := started(t, start(t, nil, binary(t), args...))
	return &fortress{n, n.memory(t, "VmRSS")}
}

// stands checks that at no moment the node grew by more than so many bytes, that it has
// logged no error, and that it serves; call it before the test ends, and the node with it.
func (f *fortress) stands(t *testing.T, growth int64) {
	t.Helper()
	grown := f.memory(t, "VmHWM") - f.before
	t.Logf("the node grew by %d MiB", grown>>20)
	if grown > growth {
		t.Errorf("that is more than %d MiB", growth>>20)
	}
	if status, _, text := visit(t, f.node).request(http.MethodGet, "/readyz", "", nil); status != http.StatusOK {
		t.Errorf("the node is not ready any more: %d %s", status, text)
	}
	if log := f.stderr.String(); strings.Contains(log, "panic") || strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the node logged an error:\n%s", tail(log))
	}
}

// memory is what the node's process holds, or, as VmHWM, has held; 0 where no system tells.
func (n *node) memory(t *testing.T, what string) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, what+":"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in %s", what, text)
	return 0
}

// visitor comes to a node by every door there is.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
}

func visit(t *testing.T, n *node) *visitor {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: deadline}
	return &visitor{t, n.url(), &http.Client{
		Transport: transport, Timeout: deadline,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// request returns the status and the body; of a stream its beginning.
func (v *visitor) request(method, target, body string, header http.Header) (status int, head http.Header, text string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, v.base+target, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(req.Header, header)
	resp, err := v.client.Do(req)
	if err != nil {
		v.t.Fatalf("%s %.200s: %v", method, target, err)
	}
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return resp.StatusCode, resp.Header, ""
	}
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatalf("%s %.200s: %v", method, target, err)
	}
	return resp.StatusCode, resp.Header, string(all)
}

// doors is what a caller with a token is answered at each of them.
func (v *visitor) doors(token, channel string) map[string]int {
	v.t.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	query := "?channel=" + url.QueryEscape(channel)
	got := map[string]int{}
	got["history"], _, _ = v.request(http.MethodGet, messagesPath(channel), "", header)
	got["publish"], _, _ = v.request(http.MethodPost, messagesPath(channel), `{"data":"attack"}`, header)
	got["events"], _, _ = v.request(http.MethodGet, "/v1/events"+query, "", header)
	got["poll"], _, _ = v.request(http.MethodGet, "/v1/poll"+query+"&timeout=1", "", header)
	got["purge"], _, _ = v.request(http.MethodDelete, messagesPath(channel), "", header)
	return got
}

// handshake is what a WebSocket is answered: 101, or the status of a refusal.
func (v *visitor) handshake(header http.Header) (int, *websocket.Conn) {
	v.t.Helper()
	conn, resp, err := (&websocket.Dialer{HandshakeTimeout: deadline}).DialContext(v.t.Context(), "ws"+strings.TrimPrefix(v.base, "http")+"/v1/ws", header)
	if resp == nil {
		v.t.Fatalf("no answer to a handshake: %v", err)
	}
	defer resp.Body.Close()
	if err != nil {
		return resp.StatusCode, nil
	}
	v.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	return resp.StatusCode, conn
}

// ended reads until the connection ends, and returns the code of that.
func ended(t *testing.T, conn *websocket.Conn) int {
	t.Helper()
	for {
		_, _, err := conn.ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			return closed.Code
		}
		if err != nil {
			t.Errorf("it ended without a code: %v", err)
			return 0
		}
	}
}

// told sends a command, without its braces, and returns the code of the error that answers
// it, 0 for any other answer.
func told(t *testing.T, conn *websocket.Conn, id int, command string) int {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,%s}`, id, command)); err != nil {
		t.Fatal(err)
	}
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			t.Fatalf("%.200s: %v", command, err)
		}
		var ev struct {
			ID    int
			Error *struct{ Code int }
		}
		if err := json.Unmarshal(text, &ev); err != nil {
			t.Fatalf("%v in %.200s", err, text)
		}
		switch {
		case ev.ID != id:
		case ev.Error != nil:
			return ev.Error.Code
		default:
			return 0
		}
	}
}
