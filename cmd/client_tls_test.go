package cmd_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/cmd/internal/pki"
)

// certificateFiles writes a client certificate of the authority.
func certificateFiles(t *testing.T, a *pki.Authority, commonName string) (cert, key string) {
	t.Helper()
	certPEM, keyPEM := a.Leaf(t, func(c *x509.Certificate) {
		c.Subject.CommonName, c.ExtKeyUsage, c.IPAddresses = commonName, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil
	})
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	pki.Write(t, cert, certPEM)
	pki.Write(t, key, keyPEM)
	return cert, key
}

// TestCommandsSpeakTLS: with the authority and the certificate that they are given, and
// without them they end at once and say what is missing.
func TestCommandsSpeakTLS(t *testing.T) {
	authority, clients, f := pki.New(t), pki.New(t), pki.NewFiles(t)
	f.Put(t)(authority.Leaf(t, nil))
	pki.Write(t, f.ClientCA, clients.PEM)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	pki.Write(t, ca, authority.PEM)
	cfg := devConfig(t)
	cfg.Dev = false
	cfg.Auth.HMAC.Secret = auth.NewSecret(testSecret)
	cfg.Server.TLS = cmd.TLSConfig{CertFile: f.Cert, KeyFile: f.Key, ClientCAFile: f.ClientCA, MinVersion: "1.2"}
	cfg.Auth.Certificates = []cmd.CertificateConfig{{Subject: "shop", Capabilities: map[string][]auth.Action{"default:>": {auth.Publish, auth.Subscribe}}}}
	n, log := loggedNode(t, cfg)
	cert, key := certificateFiles(t, clients, "shop")
	known := []string{"--ca", ca, "--cert", cert, "--cert-key", key}
	subscribe := []string{"subscribe", "a", "--last", "1", "--count", "1", "--data"}
	with := func(args []string, more ...string) result {
		t.Helper()
		return run(t, "", at(n), append(append([]string{}, args...), more...)...)
	}
	with([]string{"publish", "a", "1"}, known...).check(t, 0)
	if got := with(subscribe, known...).check(t, 0).out; got != "1\n" {
		t.Errorf("printed %q", got)
	}
	env := append(withToken(n, root(t)), "RIVULET_CA="+ca)
	run(t, "", env, "key", "list").check(t, 0)

	for _, args := range [][]string{{"publish", "a", "1"}, {"publish", "a", "1", "--ttl", "9s"}, subscribe, {"key", "list"}} {
		with(args).check(t, 1, "unknown authority; ", "--ca FILE")
	}
	run(t, "1\n", at(n), "publish", "a").check(t, 1, "line 1", "--ca FILE")
	run(t, "", []string{"RIVULET_URL=" + strings.Replace(n.URL(), "127.0.0.1", "localhost", 1)}, "publish", "a", "1", "--ca", ca).check(t, 1, "--url another name")

	strangers := pki.New(t)
	cert, key = certificateFiles(t, strangers, "shop")
	for _, args := range [][]string{{"publish", "a", "1"}, subscribe} {
		with(args, "--ca", ca, "--cert", cert, "--cert-key", key).check(t, 1, "--cert FILE")
	}
	log.waitFor(t, `"msg":"a TLS handshake failed"`)
	log.waitFor(t, `"reason":"client_certificate"`)
	const uncounted = `rivulet_edge_tls_handshakes_failed_total{reason="client_certificate"} 0`
	metrics := request(t, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12}}, http.MethodGet, n.URL()+"/metrics", "").body
	if !strings.Contains(metrics, uncounted[:len(uncounted)-1]) || strings.Contains(metrics, uncounted) {
		t.Error("the failed handshakes are not counted") // the log was told after that
	}
	// One of the right authority that no entry is about.
	cert, key = certificateFiles(t, clients, "stranger")
	with([]string{"key", "list"}, "--ca", ca, "--cert", cert, "--cert-key", key).check(t, 1, "401", "auth.certificates", "stranger")
	with(subscribe, "--ca", ca, "--cert", cert).check(t, 2, "--cert and --cert-key go together")
	with(subscribe, "--ca", key).check(t, 2, "has no certificate in PEM")
	with(subscribe, "--ca", "missing.pem").check(t, 2, "--ca: open missing.pem")
	with(subscribe, "--cert", ca, "--cert-key", key).check(t, 2, "are not a certificate and its key")
	if got := request(t, &http.Transport{}, http.MethodGet, strings.Replace(n.URL(), "https", "http", 1)+"/healthz", ""); got.status != http.StatusBadRequest {
		t.Errorf("without TLS: %d", got.status)
	}
}

// TestCommandsMeetPlaintext: a node without TLS is said to be one.
func TestCommandsMeetPlaintext(t *testing.T) {
	n := startNode(t, devConfig(t))
	env := []string{"RIVULET_URL=" + strings.Replace(n.URL(), "http", "https", 1)}
	for _, args := range [][]string{{"publish", "a", "1"}, {"subscribe", "a"}, {"key", "list"}} {
		run(t, "", env, args...).check(t, 1, "the node speaks no TLS there", "http:// in --url")
	}
}
