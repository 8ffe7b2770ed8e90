package edge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/cmd/edge"
	"github.com/rivulet-rt/rivulet/cmd/internal/pki"
)

// pebbleServer is Let's Encrypt's authority for tests, as a process.
type pebbleServer struct {
	directory string
	ca        string // a file
	roots     *x509.CertPool
	stop      func()
}

const acmeDomain = "rt.example.com"

// startPebble runs one whose certificates last for validity, and who looks for every
// domain at this machine, for tls-alpn-01 at the given port.
func startPebble(t *testing.T, alpnPort int, validity time.Duration) *pebbleServer {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "pebble")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../..", "-modfile=tools/go.mod", "-o", binary, "github.com/letsencrypt/pebble/v2/cmd/pebble")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build pebble: %v\n%s", err, out)
	}
	own := pki.New(t)
	cert, key := own.Leaf(t, nil)
	p := &pebbleServer{ca: filepath.Join(dir, "ca.pem"), roots: x509.NewCertPool()}
	pki.Write(t, p.ca, own.PEM)
	pki.Write(t, filepath.Join(dir, "cert.pem"), cert)
	pki.Write(t, filepath.Join(dir, "key.pem"), key)
	listen, manage := freePort(t), freePort(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage,
		"certificate": filepath.Join(dir, "cert.pem"), "privateKey": filepath.Join(dir, "key.pem"),
		"httpPort": 1, "tlsPort": alpnPort, "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{"description": "short", "validityPeriod": int(validity.Seconds())}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	pki.Write(t, filepath.Join(dir, "pebble.json"), config)
	run := exec.CommandContext(t.Context(), binary, "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", nameServer(t)) //nolint:gosec // built above
	run.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	var log strings.Builder // read after the process has ended
	run.Stdout, run.Stderr = &log, &log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = run.Process.Kill() // it has no state that is worth a goodbye
		_ = run.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}
	t.Cleanup(p.stop)
	p.directory = "https://" + listen + "/dir"
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: own.Pool(), MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	eventually(t, "pebble shows its root", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+manage+"/roots/0", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		root, err := io.ReadAll(resp.Body)
		return err == nil && p.roots.AppendCertsFromPEM(root)
	})
	return p
}

// freePort is an address that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l := listenLocal(t)
	defer l.Close()
	return l.Addr().String()
}

// nameServer answers, over TCP, that every name is 127.0.0.1 and has no other record.
func nameServer(t *testing.T) string {
	t.Helper()
	l := listenLocal(t)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(deadline))
				var size [2]byte
				for {
					if _, err := io.ReadFull(conn, size[:]); err != nil {
						return
					}
					query := make([]byte, binary.BigEndian.Uint16(size[:]))
					if _, err := io.ReadFull(conn, query); err != nil || len(query) < 12 {
						return
					}
					text := answer(query)
					_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...))
				}
			})
		}
	})
	return l.Addr().String()
}

// answer is that of a question (RFC 1035): its header, itself, and a record of its name.
func answer(query []byte) []byte {
	end := 12
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	if end += 5; end > len(query) {
		return nil
	}
	isA := query[end-4] == 0 && query[end-3] == 1
	out := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:end]...)
	if isA {
		out[7] = 1
		out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1)
	}
	return out
}

// TestACME: a certificate is issued without a client that asks, renewed in time, and
// still there after a restart without the authority.
func TestACME(t *testing.T) {
	const validity = 21 * time.Second
	listener := listenLocal(t)
	port := listener.Addr().(*net.TCPAddr).Port
	pebble := startPebble(t, port, validity)
	cache := filepath.Join(t.TempDir(), "acme")
	cfg := edge.TLSConfig{MinVersion: "1.2", ACME: edge.ACMEConfig{
		Domains: []string{acmeDomain}, Email: "ops@example.com", DirectoryURL: pebble.directory, CacheDir: cache, CAFile: pebble.ca,
	}}
	s, stop := serveTLSOn(t, listener, cfg, deadline, ok())
	defer func() { stop() }()

	serial := func() (*big.Int, error) {
		conn, err := dialTLS(s.addr, &tls.Config{RootCAs: pebble.roots, ServerName: acmeDomain, MinVersion: tls.VersionTLS12})
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber, nil
	}
	within := func(d time.Duration, what string, cond func(*big.Int) bool) *big.Int {
		t.Helper()
		end := time.Now().Add(d)
		for {
			n, err := serial()
			if err == nil && cond(n) {
				return n
			}
			if time.Now().After(end) {
				t.Fatalf("not within %v: %s; %v", d, what, err)
			}
			time.Sleep(50 * time.Millisecond) //nolint:forbidigo // between two looks at the condition
		}
	}
	eventually(t, "a certificate is issued unasked", func() bool {
		return s.value(t, "rivulet_edge_certificate_expires_timestamp_seconds", "") > float64(time.Now().Unix())
	})
	first := within(deadline, "it is shown", func(*big.Int) bool { return true })
	if _, err := dialTLS(s.addr, &tls.Config{RootCAs: pebble.roots, ServerName: "other.example.com", MinVersion: tls.VersionTLS12}); err == nil {
		t.Error("a certificate for a name that is not configured")
	}
	renewed := within(validity, "it is renewed before it ends", func(n *big.Int) bool { return n.Cmp(first) != 0 })

	stop()
	pebble.stop()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	s, stop = serveTLSOn(t, listener, cfg, deadline, ok())
	if again := within(validity, "it is there after a restart", func(*big.Int) bool { return true }); again.Cmp(renewed) != 0 {
		t.Error("another certificate after a restart")
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) < 2 {
		t.Fatalf("the cache has %d entries; %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || edge.Exposed(info) {
			t.Errorf("others may read %s of the cache; %v", e.Name(), err)
		}
	}
}

func TestACMEWithoutAnAuthority(t *testing.T) {
	closed := freePort(t)
	cfg := edge.TLSConfig{MinVersion: "1.2", ACME: edge.ACMEConfig{
		Domains: []string{acmeDomain}, DirectoryURL: "https://" + closed + "/dir", CacheDir: filepath.Join(t.TempDir(), "acme"),
	}}
	s := serveTLS(t, cfg, ok())
	eventually(t, "the failure is counted", func() bool {
		return s.value(t, "rivulet_edge_certificate_reloads_total", "failed") > 0
	})
}

// TestACMEStopsWithAnAuthorityThatHangs: the server stops at once.
func TestACMEStopsWithAnAuthorityThatHangs(t *testing.T) {
	hangs := listenLocal(t) // takes connections, and says nothing
	defer hangs.Close()
	cfg := edge.TLSConfig{MinVersion: "1.2", ACME: edge.ACMEConfig{
		Domains: []string{acmeDomain}, DirectoryURL: "https://" + hangs.Addr().String() + "/dir", CacheDir: filepath.Join(t.TempDir(), "acme"),
	}}
	_, stop := serveTLSOn(t, listenLocal(t), cfg, deadline, ok())
	conn, err := hangs.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	stop()
	if took := time.Since(began); took > deadline {
		t.Errorf("it took %v to stop", took)
	}
}

func TestACMECacheOthersCanSeeIsRefused(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil { //nolint:gosec // that is the point
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := edge.NewTLS(ctx, edge.TLSConfig{MinVersion: "1.2", ACME: edge.ACMEConfig{Domains: []string{acmeDomain}, CacheDir: open}},
		slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err == nil || !strings.Contains(fmt.Sprint(err), "server.acme.cache_dir: other users can look into "+open) {
		t.Errorf("not refused, or not said why: %v", err)
	}
}
