//go:build !windows

package cmd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/cmd/internal/pki"
)

// loggedNode runs a node that logs everything, as JSON, into the buffer.
func loggedNode(t testing.TB, cfg cmd.Config) (*cmd.Node, *buffer) {
	t.Helper()
	log := newBuffer()
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	n, err := cmd.New(cfg, logger, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopNode(t, n) })
	return n, log
}

// answer is a response that was read.
type answer struct {
	status, major int // of HTTP
	header        http.Header
	body          string
}

// request sends one and returns the answer.
func request(t testing.TB, transport *http.Transport, method, url, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport.DisableKeepAlives = !transport.ForceAttemptHTTP2
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.ProtoMajor, resp.Header, string(text)}
}

func TestNodeWithTLS(t *testing.T) {
	authority, clients, f := pki.New(t), pki.New(t), pki.NewFiles(t)
	f.Put(t)(authority.Leaf(t, nil))
	pki.Write(t, f.ClientCA, clients.PEM)
	cfg := devConfig(t)
	cfg.Dev = false
	cfg.Auth.HMAC.Secret = auth.NewSecret(strings.Repeat("s", 32))
	cfg.Server.TLS = cmd.TLSConfig{CertFile: f.Cert, KeyFile: f.Key, ClientCAFile: f.ClientCA, MinVersion: "1.2"}
	cfg.Auth.Certificates = []cmd.CertificateConfig{{Subject: "spiffe://example/shop", Capabilities: map[string][]auth.Action{"default:>": {auth.Publish, auth.Subscribe}}}}
	n, log := loggedNode(t, cfg)
	if !strings.HasPrefix(n.URL(), "https://") {
		t.Fatalf("the URL is %s", n.URL())
	}
	config := &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12}
	shop := config.Clone()
	shop.Certificates = []tls.Certificate{clients.Client(t, "shop", "spiffe://example/shop", nil)}
	const publishIt = `{"data":1}`
	url := n.URL() + "/v1/channels/default:x/messages"

	got := request(t, &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}, http.MethodGet, n.URL()+"/healthz", "")
	for name, want := range map[string]string{
		"Strict-Transport-Security": "max-age=15552000", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Frame-Options": "DENY",
	} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got.major != 2 {
		t.Errorf("over HTTP/%d, want 2", got.major)
	}
	if got := request(t, &http.Transport{TLSClientConfig: config}, http.MethodPost, url, publishIt); got.status != http.StatusUnauthorized {
		t.Errorf("without a certificate: status %d", got.status)
	}
	if got := request(t, &http.Transport{TLSClientConfig: shop}, http.MethodPost, url, publishIt); got.status/100 != 2 {
		t.Errorf("with a certificate: status %d, %s", got.status, got.body)
	}
	if got := request(t, &http.Transport{TLSClientConfig: shop}, http.MethodDelete, url, ""); got.status != http.StatusForbidden {
		t.Errorf("beyond its capabilities: status %d", got.status)
	}
	log.waitFor(t, `"who":"key:certificate:spiffe://example/shop","action":"purge"`)

	dialer := gorilla.Dialer{TLSClientConfig: shop}
	conn, resp, err := dialer.DialContext(testContext(t), "wss"+strings.TrimPrefix(n.URL(), "https")+"/v1/ws", nil)
	if err != nil {
		t.Fatalf("%v (%v)", err, resp)
	}
	defer func() { _ = conn.Close() }()
	resp.Body.Close()
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	_ = conn.WriteMessage(gorilla.TextMessage, []byte(`{"id":1,"connect":{}}`)) // a read finds out
	if _, text, err := conn.ReadMessage(); err != nil || !bytes.Contains(text, []byte("connected")) {
		t.Errorf("over WebSocket: %s, %v", text, err)
	}

	first := shown(t, n, config)
	f.Put(t)(authority.Leaf(t, nil))
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(deadline); shown(t, n, config) == first; {
		if time.Now().After(end) {
			t.Fatal("the certificate is not reloaded")
		}
	}
	if err := conn.WriteMessage(gorilla.TextMessage, []byte(`{"id":7,"ping":{}}`)); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	if _, text, err := conn.ReadMessage(); err != nil {
		t.Errorf("the connection from before: %s, %v", text, err)
	}
}

func shown(t testing.TB, n *cmd.Node, config *tls.Config) string {
	t.Helper()
	d := tls.Dialer{Config: config}
	conn, err := d.DialContext(testContext(t), "tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestAdminListener(t *testing.T) {
	cfg := devConfig(t)
	cfg.Server.AdminListen = "127.0.0.1:0"
	n := startNode(t, cfg)
	public, admin := n.URL(), "http://"+n.AdminAddr().String()
	for _, test := range []struct {
		method, path   string
		public, admins int
	}{
		{http.MethodGet, "/healthz", 200, 200},
		{http.MethodGet, "/readyz", 200, 200},
		{http.MethodGet, "/openapi.yaml", 200, 200},
		{http.MethodGet, "/metrics", 404, 200},
		{http.MethodGet, "/v1/channels", 200, 404},
		{http.MethodGet, "/v1/users/u/connections", 404, 200},
		{http.MethodDelete, "/v1/users/u/connections", 404, 200},
		{http.MethodGet, "/v1/users/u/sessions", 404, 200},
		{http.MethodGet, "/v1/webhooks", 404, 200},
		{http.MethodGet, "/v1%2Fwebhooks", 404, 404},
		{http.MethodGet, "/v1/channels/../webhooks", 404, 404},
		{http.MethodGet, "//v1/webhooks", 404, 404},
		{http.MethodGet, "/V1/WEBHOOKS", 404, 404},
		{http.MethodGet, "/debug/pprof/", 404, 200},
		{http.MethodGet, "/debug/pprof/heap", 404, 200},
		{http.MethodGet, "/debug/pprof/goroutine?debug=1", 404, 200},
		{http.MethodGet, "/debug/pprof/cmdline", 404, 404},
		{http.MethodGet, "/debug/pprof/../pprof/cmdline", 404, 404},
		{http.MethodGet, "/debug/pprof//cmdline", 404, 404},
		{http.MethodGet, "/v1/ws", 426, 404},
	} {
		for url, want := range map[string]int{public: test.public, admin: test.admins} {
			got := request(t, &http.Transport{}, test.method, url+test.path, "")
			if got.status/100 == 3 {
				got.status = http.StatusNotFound // to where it is not served either
			}
			if elsewhere := want == 404 && test.public != test.admins && !strings.HasPrefix(test.path, "/debug"); elsewhere != strings.Contains(got.body, "listen; ask there") {
				t.Errorf("%s %s%s: %s", test.method, url, test.path, got.body)
			}
			if got.status != want {
				t.Errorf("%s %s at %s: status %d, want %d", test.method, test.path, url, got.status, want)
			}
			if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Content-Security-Policy") == "" {
				t.Errorf("%s %s at %s lacks security headers", test.method, test.path, url)
			}
		}
	}
}

// TestAdminListenerAndRebinding: a page that has its own name lead to the loopback reads no
// metrics and no profiles; behind the public listener's tokens names do not matter.
func TestAdminListenerAndRebinding(t *testing.T) {
	cfg := devConfig(t)
	cfg.Dev, cfg.Auth.HMAC.Secret = false, auth.NewSecret(strings.Repeat("s", 32))
	cfg.Server.AdminListen = "127.0.0.1:0"
	n := startNode(t, cfg)
	for _, test := range []struct {
		url, host string
		want      int
	}{
		{"http://" + n.AdminAddr().String() + "/metrics", "evil.example", 403},
		{"http://" + n.AdminAddr().String() + "/debug/pprof/heap", "127.0.0.1.evil.example:9090", 403},
		{"http://" + n.AdminAddr().String() + "/healthz", "192.0.2.1", 403},
		{"http://" + n.AdminAddr().String() + "/metrics", "", 200},
		{"http://" + n.AdminAddr().String() + "/metrics", "localhost:9090", 200},
		{"http://" + n.AdminAddr().String() + "/metrics", "[::1]:9090", 200},
		{n.URL() + "/healthz", "rivulet.example", 200},
	} {
		r, err := http.NewRequestWithContext(testContext(t), http.MethodGet, test.url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = test.host
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != test.want {
			t.Errorf("%s for %q: %d, want %d", test.url, test.host, resp.StatusCode, test.want)
		}
	}
}

func TestAdminListenerThatIsTaken(t *testing.T) {
	cfg := devConfig(t)
	cfg.Server.AdminListen = startNode(t, devConfig(t)).Addr().String()
	n := newNode(t, cfg)
	if err := n.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "server.admin_listen") {
		t.Errorf("got %v", err)
	}
	stopNode(t, n)
}

// proxied dials as a proxy does that speaks for client.
func proxied(client string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		if err == nil {
			_, err = fmt.Fprintf(conn, "PROXY TCP4 %s 192.0.2.1 4711 443\r\n", client)
		}
		return conn, err
	}
}

// audited is the address of the last control action that the log has.
func audited(t testing.TB, log *buffer, request string) (from string) {
	t.Helper()
	log.waitFor(t, `"request":"`+request+`"}`)
	scanner := bufio.NewScanner(strings.NewReader(log.String()))
	for scanner.Scan() {
		var line struct {
			Audit struct{ Who, Action, What, From, Outcome, Request string }
		}
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Audit.Request == request {
			return line.Audit.From
		}
	}
	return ""
}

func TestAddressInTheAuditLog(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*cmd.ServerConfig)
		dial   func(ctx context.Context, network, addr string) (net.Conn, error)
		header []string
		want   string
	}{
		{"no proxy", nil, nil, []string{"X-Forwarded-For", "203.0.113.9", "Forwarded", "for=203.0.113.9"}, "127.0.0.1"},
		{
			"a proxy", func(s *cmd.ServerConfig) { s.TrustedProxies = []string{"127.0.0.0/8"} }, nil,
			[]string{"X-Forwarded-For", "198.51.100.1, 203.0.113.9", "Forwarded", "for=198.51.100.7"},
			"203.0.113.9",
		},
		{
			"PROXY", func(s *cmd.ServerConfig) { s.TrustedProxies, s.ProxyProtocol = []string{"127.0.0.1"}, true }, proxied("203.0.113.9"),
			[]string{"X-Forwarded-For", "198.51.100.1"},
			"203.0.113.9",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := devConfig(t)
			if test.change != nil {
				test.change(&cfg.Server)
			}
			n, log := loggedNode(t, cfg)
			id := "audit-" + strings.ReplaceAll(test.name, " ", "-")
			request(t, &http.Transport{DialContext: test.dial}, http.MethodDelete, n.URL()+"/v1/channels/chat:x/messages?token=hush", "",
				append(test.header, "X-Request-Id", id)...)
			if got := audited(t, log, id); got != test.want {
				t.Errorf("from %s, want %s", got, test.want)
			}
			if strings.Contains(log.String(), "hush") {
				t.Error("a token in the query is logged")
			}
		})
	}
}

// TestProxiedConnectionsHaveNoGoroutine: under a PROXY header a WebSocket is taken over
// as plain TCP, so that crowds cost as little as without.
func TestProxiedConnectionsHaveNoGoroutine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has connections without a goroutine") // elsewhere there is nothing to count
	}
	cfg := devConfig(t)
	cfg.Server.TrustedProxies, cfg.Server.ProxyProtocol = []string{"127.0.0.1"}, true
	n := startNode(t, cfg)
	dialer := gorilla.Dialer{NetDialContext: proxied("203.0.113.9")}
	const crowd = 100
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			conn, resp, err := dialer.DialContext(testContext(t), "ws"+strings.TrimPrefix(n.URL(), "http")+"/v1/ws", nil)
			if err != nil {
				t.Errorf("%v (%v)", err, resp)
				return
			}
			resp.Body.Close()
			t.Cleanup(func() { _ = conn.Close() })
			_ = conn.SetReadDeadline(time.Now().Add(deadline))
			_ = conn.WriteMessage(gorilla.TextMessage, []byte(`{"id":1,"connect":{}}`)) // a read finds out
			if _, _, err := conn.ReadMessage(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	end := time.Now().Add(deadline)
	for runtime.NumGoroutine() > before+crowd/4 {
		if time.Now().After(end) {
			t.Fatalf("%d connections have %d goroutines", crowd, runtime.NumGoroutine()-before)
		}
		runtime.Gosched()
	}
	t.Logf("%d connections have %d goroutines", crowd, runtime.NumGoroutine()-before)
}
