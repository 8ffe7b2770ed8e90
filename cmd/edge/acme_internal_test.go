package edge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"

	"github.com/rivulet-rt/rivulet/cmd/internal/pki"
)

// withAnswer is an ACME whose cache has the answer to the authority's check of a domain.
func withAnswer(t *testing.T, domain string) *ACME {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "acme")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cert, key := pki.New(t).Leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{domain} })
	pki.Write(t, filepath.Join(dir, domain+"+token"), append(key, cert...))
	a, err := newACME(t.Context(), ACMEConfig{Domains: []string{domain}, CacheDir: dir},
		slog.New(slog.DiscardHandler), newCertificateMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestACMECheckGoesBeforeACrowd: handshakes that wait for the certificate do not keep the
// authority from finding what it is issued for.
func TestACMECheckGoesBeforeACrowd(t *testing.T) {
	const domain = "rt.example.com"
	a := withAnswer(t, domain)
	a.waiting.Store(maxWaiting)
	if _, err := a.certificate(&tls.ClientHelloInfo{ServerName: domain, SupportedProtos: []string{acme.ALPNProto}}); err != nil {
		t.Errorf("the check: %v", err)
	}
	if _, err := a.certificate(&tls.ClientHelloInfo{ServerName: domain, SupportedProtos: []string{"h2", acme.ALPNProto}}); !errors.Is(err, errIssuing) {
		t.Errorf("one more that waits: %v, want %v", err, errIssuing)
	}
	if n := a.waiting.Load(); n != maxWaiting {
		t.Errorf("%d wait, want %d", n, maxWaiting)
	}
}

// TestACMEHandshakesWaitForKeep: no client makes the authority be asked.
func TestACMEHandshakesWaitForKeep(t *testing.T) {
	const domain = "rt.example.com"
	synctest.Test(t, func(t *testing.T) {
		a := withAnswer(t, domain) // an answer is not enough for a client
		if _, err := a.certificate(&tls.ClientHelloInfo{ServerName: domain + "."}); !errors.Is(err, errIssuing) {
			t.Errorf("before there is one: %v, want %v", err, errIssuing)
		}
		if n := a.waiting.Load(); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}
