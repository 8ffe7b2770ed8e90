package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Files are where a certificate comes from, in PEM.
type Files struct {
	// Cert has the chain, leaf first; Key its key, not encrypted. Both are empty where the
	// certificate comes from elsewhere.
	Cert, Key string
	// ClientCA has the authorities whose client certificates are accepted; empty is none.
	ClientCA string
}

// maxPEM bounds one file, in bytes.
const maxPEM = 1 << 20

// Certificate is what Files held when they were last good. Its methods may be called
// concurrently.
type Certificate struct {
	// Static after loadCertificate.
	files   Files
	log     *slog.Logger
	metrics *certificateMetrics

	current atomic.Pointer[material]

	mu    sync.Mutex // guards the following
	tried [sha256.Size]byte
	// again is when files that were refused are good enough, though they have not changed;
	// zero is never.
	again time.Time
}

// material is one state of the files.
type material struct {
	cert      *tls.Certificate // nil where the files have none
	clientCAs *x509.CertPool
}

type certificateMetrics struct {
	expires        prometheus.Gauge
	loaded, failed prometheus.Counter
}

func newCertificateMetrics(reg prometheus.Registerer) *certificateMetrics {
	with := promauto.With(reg)
	reloads := with.NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_edge_certificate_reloads_total", Help: "Changes of the certificate's files, by whether they were taken.",
	}, []string{"result"})
	return &certificateMetrics{
		expires: with.NewGauge(prometheus.GaugeOpts{
			Name: "rivulet_edge_certificate_expires_timestamp_seconds", Help: "When the certificate in use ends; of several, the first.",
		}),
		loaded: reloads.WithLabelValues("loaded"),
		failed: reloads.WithLabelValues("failed"),
	}
}

// loadCertificate reads files, of which one is named. Its errors name the file.
func loadCertificate(files Files, logger *slog.Logger, metrics *certificateMetrics) (*Certificate, error) {
	c := &Certificate{files: files, log: logger, metrics: metrics}
	m, sum, err := files.load()
	if err != nil {
		return nil, err
	}
	c.tried = sum
	c.use(m)
	return c, nil
}

// Check reads files as NewTLS does, and returns when their certificate ends,
// the zero time where there is none.
func (f Files) Check() (expires time.Time, err error) {
	m, _, err := f.load()
	if err != nil || m.cert == nil {
		return time.Time{}, err
	}
	return m.cert.Leaf.NotAfter, nil
}

func (c *Certificate) use(m *material) {
	c.current.Store(m)
	if m.cert == nil {
		return
	}
	ends := m.cert.Leaf.NotAfter
	c.metrics.expires.Set(float64(ends.Unix()))
	attrs := []any{slog.Time("expires", ends), slog.String("issuer", m.cert.Leaf.Issuer.CommonName)}
	if time.Until(ends) < expiresSoon {
		c.log.Warn("the certificate in use ends soon, or has ended", attrs...)
	} else {
		c.log.Info("certificate in use", attrs...)
	}
}

// expiresSoon is from when on a certificate's end is worth a warning.
const expiresSoon = 14 * 24 * time.Hour

// ExpiresSoon reports whether a certificate that ends then should have been replaced.
func ExpiresSoon(ends, now time.Time) bool { return ends.Sub(now) < expiresSoon }

// Reload takes the files as they are now. Where they are no good, what is in use stays,
// and the error says what is wrong.
func (c *Certificate) Reload() error { return c.reload(true) }

// reload does nothing where the files are as they were last time, unless it must.
func (c *Certificate) reload(must bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, sum, err := c.files.load()
	due := !c.again.IsZero() && time.Now().After(c.again)
	if !must && !due && sum == c.tried {
		return nil
	}
	c.tried, c.again = sum, time.Time{}
	if err == nil {
		err = c.worse(m)
	}
	if err != nil {
		c.metrics.failed.Inc()
		c.log.Error("the certificate's files are no good; what was loaded before stays in use", slog.Any("err", err))
		return err
	}
	c.metrics.loaded.Inc()
	c.use(m)
	return nil
}

// worse says why m must not replace what is in use, and notes from when on it may. c.mu is
// held.
func (c *Certificate) worse(m *material) error {
	now, old := time.Now(), c.current.Load()
	if m.cert == nil || old.cert == nil || now.After(old.cert.Leaf.NotAfter) {
		return nil
	}
	switch leaf := m.cert.Leaf; {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("server.tls.cert_file: %s has ended, at %s", c.files.Cert, leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		c.again = leaf.NotBefore
		if ends := old.cert.Leaf.NotAfter; ends.Before(c.again) { // then it is no worse
			c.again = ends
		}
		return fmt.Errorf("server.tls.cert_file: %s begins only at %s, and is taken then", c.files.Cert, leaf.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// watch reloads when the files' contents change, looking every so often, and at each
// signal, until ctx ends.
func (c *Certificate) watch(ctx context.Context, every time.Duration, signals <-chan os.Signal) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			_ = c.Reload() // logged
		case <-tick.C:
			_ = c.reload(false) // logged
		}
	}
}

// load returns the sum of what it read also where that is no good.
func (f Files) load() (*material, [sha256.Size]byte, error) {
	m, sum := &material{}, sha256.New()
	read := func(key, name string) []byte {
		if name == "" {
			return nil
		}
		text, err := readPEM(name)
		if err != nil {
			fmt.Fprintf(sum, "%s: %v", key, err)
			return nil
		}
		fmt.Fprintf(sum, "%s: %d ", key, len(text))
		_, _ = sum.Write(text) // never fails
		return text
	}
	cert, key, clientCA := read("cert", f.Cert), read("key", f.Key), read("client CA", f.ClientCA)
	var errs []error
	if f.Cert != "" {
		var err error
		if m.cert, err = f.pair(cert, key); err != nil {
			errs = append(errs, err)
		}
	}
	if f.ClientCA != "" {
		m.clientCAs = x509.NewCertPool()
		if !m.clientCAs.AppendCertsFromPEM(clientCA) {
			errs = append(errs, unreadable("server.tls.client_ca_file", f.ClientCA, errors.New("it has no certificate in PEM")))
		}
	}
	return m, [sha256.Size]byte(sum.Sum(nil)), errors.Join(errs...)
}

func (f Files) pair(cert, key []byte) (*tls.Certificate, error) {
	switch {
	case len(cert) == 0:
		return nil, unreadable("server.tls.cert_file", f.Cert, errors.New("it is empty"))
	case len(key) == 0:
		return nil, unreadable("server.tls.key_file", f.Key, errors.New("it is empty"))
	case bytes.Contains(key, []byte("ENCRYPTED")):
		return nil, fmt.Errorf("server.tls.key_file: %s is encrypted; store it decrypted, readable by the node's user alone", f.Key)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil { // its text has no part of the key
		return nil, fmt.Errorf("server.tls.cert_file, server.tls.key_file: %s and %s: %w", f.Cert, f.Key, err)
	}
	return &pair, nil
}

// unreadable is why the file could not be read, or otherwise what is wrong with it.
func unreadable(key, name string, otherwise error) error {
	_, err := readPEM(name)
	if err == nil {
		return fmt.Errorf("%s: %s: %w", key, name, otherwise)
	}
	return fmt.Errorf("%s: %w", key, err)
}

func readPEM(name string) ([]byte, error) {
	file, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = fmt.Errorf("%s is over %d bytes", name, maxPEM)
	}
	return text, err
}
