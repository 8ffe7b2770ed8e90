package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"
)

// MinVersion reads "1.2" or "1.3".
func MinVersion(s string) (uint16, error) {
	switch s {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("server.tls.min_version: %q is not one of 1.2, 1.3", s)
}

// suites are those of TLS 1.2 that are used: forward secret and authenticated. TLS 1.3
// has no others.
func suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// TLSConfig is how the node speaks TLS.
type TLSConfig struct {
	Files Files
	// ACME issues the certificate where it has domains; Files has only authorities then.
	ACME ACMEConfig
	// MinVersion is "1.2" or "1.3".
	MinVersion string
	// Look is how often the files are looked at; 0 is every five seconds.
	Look time.Duration
}

// TLS are the certificates of a node. Its methods may be called concurrently.
type TLS struct {
	// Static after NewTLS.
	cfg   TLSConfig
	least uint16
	files *Certificate // nil where no file is named
	acme  *ACME        // nil where no authority issues
}

const defaultLook = 5 * time.Second

// NewTLS reads what cfg names. Errors name the key or the file at fault. What is asked of
// an ACME authority ends with ctx.
func NewTLS(ctx context.Context, cfg TLSConfig, logger *slog.Logger, reg prometheus.Registerer) (*TLS, error) {
	least, err := MinVersion(cfg.MinVersion)
	if err != nil {
		return nil, err
	}
	if cfg.Look == 0 {
		cfg.Look = defaultLook
	}
	t, metrics := &TLS{cfg: cfg, least: least}, newCertificateMetrics(reg)
	if cfg.Files != (Files{}) {
		if t.files, err = loadCertificate(cfg.Files, logger, metrics); err != nil {
			return nil, err
		}
	}
	if len(cfg.ACME.Domains) > 0 {
		if t.acme, err = newACME(ctx, cfg.ACME, logger, metrics); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Run keeps the certificates fresh until ctx ends: files are read again when they have
// changed, and at each signal.
func (t *TLS) Run(ctx context.Context, signals <-chan os.Signal) {
	var wg sync.WaitGroup
	defer wg.Wait()
	if t.acme != nil {
		wg.Go(func() { t.acme.keep(ctx) })
	}
	if t.files != nil {
		t.files.watch(ctx, t.cfg.Look, signals)
	}
}

// Config is for a server. Clients that show a certificate of the client authorities are
// known by it; none need to, and any other certificate ends the handshake.
func (t *TLS) Config() *tls.Config {
	base := &tls.Config{
		MinVersion:   t.least,
		CipherSuites: suites(),
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if t.acme != nil {
		base.GetCertificate = t.acme.certificate
		base.NextProtos = append(base.NextProtos, acme.ALPNProto)
	} else {
		base.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.files.current.Load().cert, nil
		}
	}
	if t.cfg.Files.ClientCA == "" {
		return base
	}
	// Resumed connections would be held against authorities of the past.
	base.SessionTicketsDisabled = true
	base.ClientAuth = tls.VerifyClientCertIfGiven
	outer := base.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		config := base.Clone()
		config.ClientCAs = t.files.current.Load().clientCAs
		if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
			config.ClientAuth = tls.NoClientCert // the authority's own check of the domain
		}
		return config, nil
	}
	return outer
}
