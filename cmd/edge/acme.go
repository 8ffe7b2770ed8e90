package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACMEConfig is about certificates that an authority issues by itself.
type ACMEConfig struct {
	Domains []string // of the certificates, one each
	Email   string   // of the account, may be empty
	// DirectoryURL is the authority's; empty is Let's Encrypt.
	DirectoryURL string
	// CacheDir keeps the account, the keys and the certificates; nobody else may read it.
	CacheDir string
	// CAFile has the certificates that the authority's own server is checked with; empty
	// is the system's.
	CAFile string
}

// ACME gets the certificates of a node's domains, by tls-alpn-01 on the node's own
// listener, and renews them when a third of their time is left.
type ACME struct {
	cfg     ACMEConfig
	manager *autocert.Manager
	log     *slog.Logger
	metrics *certificateMetrics
	waiting atomic.Int32
	// issued has a channel for each domain, closed by keep when it has the first certificate.
	issued map[string]chan struct{}
}

// Bounds of what an authority may hold up.
const (
	acmeRequestTimeout = 30 * time.Second
	// maxWaiting is how many handshakes may wait for a certificate that is being issued.
	maxWaiting = 256
	// issueWait is how long one waits; who connects has given up by then.
	issueWait = 10 * time.Second
)

var errIssuing = errors.New("edge: the certificate is being issued, and enough handshakes wait for it, or this one has for long enough")

// newACME prepares it; what it asks of the authority ends with ctx. Errors name the key
// at fault.
func newACME(ctx context.Context, cfg ACMEConfig, logger *slog.Logger, metrics *certificateMetrics) (*ACME, error) {
	if err := checkCacheDir(cfg.CacheDir); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: acmeRequestTimeout,
	}
	if cfg.CAFile != "" {
		roots := x509.NewCertPool()
		text, err := readPEM(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("server.acme.ca_file: %w", err)
		}
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("server.acme.ca_file: %s has no certificate in PEM", cfg.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	issued := map[string]chan struct{}{}
	for _, domain := range cfg.Domains {
		issued[strings.ToLower(domain)] = make(chan struct{})
	}
	return &ACME{
		issued: issued,
		cfg:    cfg, log: logger, metrics: metrics,
		manager: &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(cfg.CacheDir), Email: cfg.Email,
			HostPolicy: autocert.HostWhitelist(cfg.Domains...),
			Client: &acme.Client{
				DirectoryURL: cfg.DirectoryURL, UserAgent: "rivulet",
				HTTPClient: &http.Client{Transport: ending{transport, func(f func()) func() bool { return context.AfterFunc(ctx, f) }}, Timeout: acmeRequestTimeout},
			},
		},
	}, nil
}

// checkCacheDir makes the folder, and refuses one that others may look into.
func checkCacheDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("server.acme.cache_dir: %w", err)
	}
	return lookAtCacheDir(dir)
}

// Check says what is wrong with the cache folder, if it is there already; it changes
// nothing.
func (c ACMEConfig) Check() error {
	if _, err := os.Stat(c.CacheDir); c.CacheDir == "" || errors.Is(err, fs.ErrNotExist) {
		return nil // it will be made
	}
	return lookAtCacheDir(c.CacheDir)
}

func lookAtCacheDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("server.acme.cache_dir: %w", err)
	case !info.IsDir():
		return fmt.Errorf("server.acme.cache_dir: %s is no folder", dir)
	case Exposed(info):
		return fmt.Errorf("server.acme.cache_dir: other users can look into %s, where the keys are; chmod 700 it", dir)
	}
	return nil
}

// certificate is for a handshake. The authority's own check of the domain is answered at
// once, whatever waits for what comes of it. All others wait until keep has the domain's
// certificate, not for long and not many at a time: no crowd makes it be asked for.
func (a *ACME) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return a.manager.GetCertificate(hello)
	}
	if a.waiting.Add(1) > maxWaiting {
		a.waiting.Add(-1)
		return nil, errIssuing
	}
	defer a.waiting.Add(-1)
	issued, ok := a.issued[strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))]
	if !ok { // autocert says what is wrong with the name
		return a.manager.GetCertificate(hello)
	}
	timer := time.NewTimer(issueWait)
	defer timer.Stop()
	select {
	case <-issued:
		return a.manager.GetCertificate(hello)
	case <-timer.C:
		return nil, errIssuing
	}
}

// How often keep looks, and how long it waits after the authority failed.
const (
	acmeLook  = time.Minute
	acmeRetry = 2 * time.Minute // above the minute for which autocert remembers a failure
)

// keep has a certificate of each domain issued, without a client that asks, and watches
// their ends until ctx does, which is that of newACME.
func (a *ACME) keep(ctx context.Context) {
	known := map[string]time.Time{}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		next := acmeLook
		for _, domain := range a.cfg.Domains {
			if err := a.look(ctx, domain, known); err != nil {
				next = acmeRetry
			}
		}
		first := time.Time{}
		for _, ends := range known {
			if first.IsZero() || ends.Before(first) {
				first = ends
			}
		}
		if !first.IsZero() {
			a.metrics.expires.Set(float64(first.Unix()))
		}
		wait.Reset(next)
	}
}

func (a *ACME) look(ctx context.Context, domain string, known map[string]time.Time) error {
	cert, err := a.ask(ctx, domain)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		a.metrics.failed.Inc()
		a.log.Error("no certificate from the authority; it is asked again", slog.String("domain", domain), slog.Any("err", err))
		return err
	}
	ends := cert.Leaf.NotAfter
	if known[domain].Equal(ends) {
		return nil
	}
	if known[domain].IsZero() {
		close(a.issued[strings.ToLower(domain)])
	}
	known[domain] = ends
	a.metrics.loaded.Inc()
	a.log.Info("certificate in use", slog.String("domain", domain), slog.Time("expires", ends))
	return nil
}

// ask gets the certificate as a handshake would; autocert takes no ctx, and stops soon
// after it when its next request is refused.
func (a *ACME) ask(ctx context.Context, domain string) (*tls.Certificate, error) {
	type answer struct {
		cert *tls.Certificate
		err  error
	}
	answers := make(chan answer, 1) // so that a late answer meets nobody and stops nobody
	go func() {
		cert, err := a.manager.GetCertificate(&tls.ClientHelloInfo{
			ServerName: domain, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
			SupportedCurves: []tls.CurveID{tls.CurveP256}, CipherSuites: suites(),
		})
		answers <- answer{cert, err}
	}()
	select {
	case got := <-answers:
		return got.cert, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
