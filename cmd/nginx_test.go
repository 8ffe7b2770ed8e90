//go:build !windows

package cmd_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
)

// nginxConfig is the example of docs/proxies.md, between a free port and the node.
func nginxConfig(t *testing.T, dir, listen, node string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(page), "<!-- test: nginx -->\n```nginx\n")
	example, _, _ := strings.Cut(after, "```")
	if !ok {
		t.Fatal("docs/proxies.md has no example of nginx")
	}
	for from, to := range map[string]string{"127.0.0.1:8000": listen, "127.0.0.1:8080": node} {
		if strings.Count(example, from) != 1 {
			t.Fatalf("the example has %s not once", from)
		}
		example = strings.Replace(example, from, to, 1)
	}
	var paths strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&paths, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	return "daemon off; master_process off; pid " + filepath.Join(dir, "pid") + ";\nevents {}\nhttp {\naccess_log off;\n" + paths.String() + example + "}\n"
}

// TestBehindNginx needs nginx on the machine.
func TestBehindNginx(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is not installed") // ./test.sh installs it, and says so where it cannot
	}
	cfg := devConfig(t)
	cfg.Server.TrustedProxies = []string{"127.0.0.1"}
	n, log := loggedNode(t, cfg)
	dir := t.TempDir()
	var config net.ListenConfig
	free, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := free.Addr().String()
	free.Close()
	file := writeFile(t, "nginx.conf", nginxConfig(t, dir, listen, n.Addr().String()))
	run := exec.CommandContext(t.Context(), nginx, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", file)
	var said strings.Builder // read after it has ended
	run.Stdout, run.Stderr = &said, &said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = run.Process.Kill()
		_ = run.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	for end := time.Now().Add(deadline); ; {
		var d net.Dialer
		conn, err := d.DialContext(testContext(t), "tcp", listen)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("nginx does not listen: %v", err)
		}
	}
	// The client is at 127.0.0.1, a trusted proxy's address, and so may speak for another:
	// nginx must append to what it says, so that the walk gets there.
	request(t, &http.Transport{}, http.MethodDelete, "http://"+listen+"/v1/channels/chat:x/messages", "",
		"X-Forwarded-For", "198.51.100.1, 203.0.113.9", "Forwarded", "for=198.51.100.7", "X-Request-Id", "through-nginx")
	if got := audited(t, log, "through-nginx"); got != "203.0.113.9" {
		t.Errorf("from %s, want 203.0.113.9", got)
	}
	conn, resp, err := gorilla.DefaultDialer.DialContext(testContext(t), "ws://"+listen+"/v1/ws", http.Header{"Origin": {"http://" + listen}})
	if err != nil {
		t.Fatalf("a WebSocket of the same host: %v (%v)", err, resp)
	}
	defer func() { _ = conn.Close() }()
	resp.Body.Close()
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	_ = conn.WriteMessage(gorilla.TextMessage, []byte(`{"id":1,"connect":{}}`)) // a read finds out
	if _, text, err := conn.ReadMessage(); err != nil || !strings.Contains(string(text), "connected") {
		t.Errorf("%s, %v", text, err)
	}
	if got := request(t, &http.Transport{}, http.MethodGet, "http://"+listen+"/v1/ws", "", "Connection", "upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", "https://evil.example"); got.status != http.StatusForbidden {
		t.Errorf("a page of another site: status %d", got.status)
	}
}
