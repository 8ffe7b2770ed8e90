package edge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/edge"
	"github.com/rivulet-rt/rivulet/cmd/internal/pki"
)

// secure is a server with TLS.
type secure struct {
	addr    string
	reg     *prometheus.Registry
	signals chan os.Signal
}

// handshakeTimeout is for peers that never end it.
const handshakeTimeout = 300 * time.Millisecond

// serveTLS serves until the test ends.
func serveTLS(t *testing.T, cfg edge.TLSConfig, handler http.Handler) *secure {
	t.Helper()
	s, stop := serveTLSOn(t, listenLocal(t), cfg, deadline, handler)
	t.Cleanup(stop)
	return s
}

func serveTLSOn(t *testing.T, listener net.Listener, cfg edge.TLSConfig, within time.Duration, handler http.Handler) (s *secure, stop func()) {
	t.Helper()
	s = &secure{reg: prometheus.NewRegistry(), signals: make(chan os.Signal)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	keep, err := edge.NewTLS(ctx, cfg, slog.New(slog.DiscardHandler), s.reg)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	wg.Go(func() { keep.Run(ctx, s.signals) })
	s.addr = listener.Addr().String()
	server := &http.Server{
		Handler: handler, TLSConfig: keep.Config(), ReadHeaderTimeout: within,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	wg.Go(func() {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return s, func() {
		_ = server.Close()
		cancel()
		wg.Wait()
	}
}

// serial is that of the certificate that a new connection is shown.
func (s *secure) serial(t testing.TB, a *pki.Authority) *big.Int {
	t.Helper()
	conn, err := dialTLS(s.addr, &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

func dialTLS(addr string, config *tls.Config) (*tls.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: deadline}, Config: config}
	conn, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

func (s *secure) value(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

func ok() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	end := time.Now().Add(deadline)
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", deadline, what)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // between two looks at the condition
	}
}

func TestCertificateIsReloaded(t *testing.T) {
	a, f := pki.New(t), pki.NewFiles(t)
	cert, key := a.Leaf(t, nil)
	f.Put(t)(cert, key)
	s := serveTLS(t, edge.TLSConfig{Files: edge.Files{Cert: f.Cert, Key: f.Key}, MinVersion: "1.2", Look: 10 * time.Millisecond}, ok())
	first := s.serial(t, a)

	later := time.Now().Add(30 * time.Minute).Truncate(time.Second)
	newCert, newKey := a.Leaf(t, func(c *x509.Certificate) { c.NotAfter = later })
	bad := map[string]func(){
		"no PEM":            func() { pki.Write(t, f.Cert, []byte("rubbish")) },
		"empty":             func() { pki.Write(t, f.Cert, nil) },
		"of another key":    func() { pki.Write(t, f.Cert, newCert) },
		"gone":              func() { _ = os.Remove(f.Cert) },
		"ended":             func() { f.Put(t)(a.Leaf(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })) },
		"not yet begun":     func() { f.Put(t)(a.Leaf(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })) },
		"larger than a PEM": func() { pki.Write(t, f.Cert, []byte(strings.Repeat("x", 2<<20))) },
	}
	for name, spoil := range bad {
		failed := s.value(t, "rivulet_edge_certificate_reloads_total", "failed")
		spoil()
		eventually(t, name+" is counted", func() bool { return s.value(t, "rivulet_edge_certificate_reloads_total", "failed") > failed })
		if got := s.serial(t, a); got.Cmp(first) != 0 {
			t.Errorf("%s: the certificate was replaced", name)
		}
		// What is bad must be told from what was bad before, of which a part may still be seen.
		loaded := s.value(t, "rivulet_edge_certificate_reloads_total", "loaded")
		f.Put(t)(cert, key)
		eventually(t, "the good files are back", func() bool { return s.value(t, "rivulet_edge_certificate_reloads_total", "loaded") > loaded })
	}
	f.Put(t)(newCert, newKey)
	eventually(t, "the new certificate is shown", func() bool { return s.serial(t, a).Cmp(first) != 0 })
	if got := s.value(t, "rivulet_edge_certificate_expires_timestamp_seconds", ""); got != float64(later.Unix()) {
		t.Errorf("ends at %v in the metric, want %v", got, later.Unix())
	}
}

func TestCertificateIsReloadedAtASignal(t *testing.T) {
	a, f := pki.New(t), pki.NewFiles(t)
	f.Put(t)(a.Leaf(t, nil))
	s := serveTLS(t, edge.TLSConfig{Files: edge.Files{Cert: f.Cert, Key: f.Key}, MinVersion: "1.2", Look: time.Hour}, ok())
	first := s.serial(t, a)
	f.Put(t)(a.Leaf(t, nil))
	s.signals <- os.Interrupt // any
	eventually(t, "the new certificate is shown", func() bool { return s.serial(t, a).Cmp(first) != 0 })
}

// TestReloadUnderLoadDropsNothing: while the certificate changes again and again, open
// connections go on and new ones succeed.
func TestReloadUnderLoadDropsNothing(t *testing.T) {
	a, f := pki.New(t), pki.NewFiles(t)
	f.Put(t)(a.Leaf(t, nil))
	s := serveTLS(t, edge.TLSConfig{Files: edge.Files{Cert: f.Cert, Key: f.Key}, MinVersion: "1.2", Look: time.Millisecond}, ok())
	ctx, stop := context.WithCancel(t.Context())
	var requests atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12},
			DisableKeepAlives: i%2 == 0, // half of them with a handshake each
		}
		wg.Go(func() {
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				if err := fetch(t.Context(), transport, "https://"+s.addr); err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
				requests.Add(1)
			}
		})
	}
	for n := range 20 {
		f.Put(t)(a.Leaf(t, nil))
		eventually(t, "a reload and some requests", func() bool {
			return s.value(t, "rivulet_edge_certificate_reloads_total", "loaded") > float64(n) && requests.Load() > int64(n*20)
		})
	}
	stop()
	wg.Wait()
	t.Logf("%d requests over %v reloads", requests.Load(), s.value(t, "rivulet_edge_certificate_reloads_total", "loaded"))
}

func fetch(ctx context.Context, transport http.RoundTripper, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func TestOldVersionsAndPlaintextAreRefused(t *testing.T) {
	a, f := pki.New(t), pki.NewFiles(t)
	f.Put(t)(a.Leaf(t, nil))
	cfg := edge.TLSConfig{Files: edge.Files{Cert: f.Cert, Key: f.Key}, MinVersion: "1.2"}
	s := serveTLS(t, cfg, ok())
	cfg.MinVersion = "1.3"
	strict := serveTLS(t, cfg, ok())
	for _, test := range []struct {
		name   string
		server *secure
		config *tls.Config
		want   bool
	}{
		{"1.0", s, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, false},
		{"1.1", s, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"1.2", s, &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"1.3", s, &tls.Config{}, true},
		{"1.2 where 1.3 is the least", strict, &tls.Config{MaxVersion: tls.VersionTLS12}, false},
		{"1.3 where it is the least", strict, &tls.Config{}, true},
		{"1.2 with CBC", s, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"1.2 without forward secrecy", s, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
		{"another application protocol", s, &tls.Config{NextProtos: []string{"ftp"}}, false},
		{"h2", s, &tls.Config{NextProtos: []string{"h2"}}, true},
	} {
		test.config.RootCAs = a.Pool()
		conn, err := dialTLS(test.server.addr, test.config)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != test.want {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	addr, err := net.ResolveTCPAddr("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if got := say(t, addr, get); !strings.HasPrefix(got, "HTTP/1.0 400 ") {
		t.Errorf("plaintext was answered with %q", got)
	}
	if got := say(t, addr, "\x16\x03\x01\x00\x05hello"); strings.Contains(got, "HTTP") {
		t.Errorf("rubbish was answered with %q", got)
	}
}

// TestHandshakeThatNeverEnds: say returns only when the server has closed.
func TestHandshakeThatNeverEnds(t *testing.T) {
	a, f := pki.New(t), pki.NewFiles(t)
	f.Put(t)(a.Leaf(t, nil))
	cfg := edge.TLSConfig{Files: edge.Files{Cert: f.Cert, Key: f.Key}, MinVersion: "1.2"}
	s, stop := serveTLSOn(t, listenLocal(t), cfg, handshakeTimeout, ok())
	defer stop()
	addr, err := net.ResolveTCPAddr("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, sent := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		began := time.Now()
		say(t, addr, sent)
		if took := time.Since(began); took < handshakeTimeout/2 {
			t.Errorf("%q: closed after %v: was it refused for another reason?", sent, took)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	a, clients, stranger := pki.New(t), pki.New(t), pki.New(t)
	f := pki.NewFiles(t)
	f.Put(t)(a.Leaf(t, nil))
	pki.Write(t, f.ClientCA, clients.PEM)
	ids, err := edge.NewIdentities([]edge.IdentityConfig{
		{Subject: "spiffe://example/shop", Capabilities: map[string][]auth.Action{"shop:>": {auth.Publish}}},
		{Subject: "billing", Capabilities: map[string][]auth.Action{"bills:>": {auth.Publish}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	authenticator := ids.Authenticator(auth.Open{})
	handler := ids.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := authenticator.Authenticate(r.Context(), r.Header.Get("Token"))
		fmt.Fprintf(w, "%s %v %v %v", claims.Key, claims.Allows(auth.Publish, "shop:x"), !claims.ExpiresAt.IsZero(), err)
	}))
	s := serveTLS(t, edge.TLSConfig{Files: edge.Files{Cert: f.Cert, Key: f.Key, ClientCA: f.ClientCA}, MinVersion: "1.2", Look: 10 * time.Millisecond}, handler)
	ask := func(cert *tls.Certificate, header ...string) string {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}}
		if cert != nil {
			// As an attacker would: whatever the server says it accepts.
			transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return "refused"
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	shop := clients.Client(t, "x", "spiffe://example/shop", nil)
	billing := clients.Client(t, "billing", "", nil)
	const nobody, shopIs = " true false <nil>", "certificate:spiffe://example/shop true true <nil>"
	for _, test := range []struct {
		name   string
		cert   *tls.Certificate
		header []string
		want   string
	}{
		{"none", nil, nil, nobody},
		{"by URI", &shop, nil, shopIs},
		{"by common name", &billing, nil, "certificate:billing false true <nil>"},
		{"a token beside it counts", &shop, []string{"Token", "t"}, nobody},
		{"of a browser's page", &shop, []string{"Origin", "https://evil.example"}, nobody},
		{"of a browser's form", &shop, []string{"Sec-Fetch-Site", "cross-site"}, nobody},
		{"headers of a proxy that does TLS", nil, []string{"X-SSL-Client-Verify", "SUCCESS", "X-Client-Cert", "spiffe://example/shop"}, nobody},
		{"a URI as the common name", new(clients.Client(t, "spiffe://example/shop", "", nil)), nil, nobody},
		{"a common name as a URI", new(clients.Client(t, "x", "x://billing", nil)), nil, nobody},
		{"not listed", new(clients.Client(t, "other", "spiffe://example/shop2", nil)), nil, nobody},
		{"of another authority", new(stranger.Client(t, "billing", "spiffe://example/shop", nil)), nil, "refused"},
		{"signed by itself", new(selfSigned(t)), nil, "refused"},
		{"ended", new(clients.Client(t, "billing", "", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), nil, "refused"},
		{"of a server", new(clients.Client(t, "billing", "", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), nil, "refused"},
	} {
		if got := ask(test.cert, test.header...); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	pki.Write(t, f.ClientCA, stranger.PEM)
	eventually(t, "the authority is replaced", func() bool { return ask(&shop) == "refused" })
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	return pki.New(t).Client(t, "billing", "spiffe://example/shop", nil)
}

func TestIdentitiesAreChecked(t *testing.T) {
	caps := map[string][]auth.Action{"shop:>": {auth.Publish}}
	_, err := edge.NewIdentities([]edge.IdentityConfig{
		{Subject: "", Capabilities: caps},
		{Subject: "a", Capabilities: caps},
		{Subject: "a", Capabilities: caps},
		{Subject: "b"},
		{Subject: "c", Capabilities: map[string][]auth.Action{"shop:>": {"fly"}}},
		{Subject: "x://%zz", Capabilities: caps},
	})
	for _, want := range []string{
		"auth.certificates[0].subject: must have", `auth.certificates[2].subject: "a" is used twice`,
		"auth.certificates[3].capabilities: missing", "auth.certificates[4].capabilities:", "auth.certificates[5].subject:",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q: %v", want, err)
		}
	}
}
