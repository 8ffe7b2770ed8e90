package auth

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// How key sets are fetched.
const (
	fetchTimeout    = 5 * time.Second
	fetchInterval   = 5 * time.Minute  // between fetches, with a tenth of jitter
	fetchRetry      = 30 * time.Second // after one that failed, likewise
	fetchUnknown    = 10 * time.Second // the least time between fetches for key IDs that are not known
	fetchWait       = 2 * time.Second  // that a token waits for one
	maxKeyAge       = 24 * time.Hour   // of a set that cannot be fetched anew
	maxHeaderBytes  = 16 << 10
	fetchUserAgent  = "rivulet"
	acceptedContent = "application/jwk-set+json, application/json"
)

// remoteKeys is a key set behind a URL. One goroutine, run, fetches it: at the start,
// every few minutes, and when a token names a key that is not there. While it cannot be
// fetched, the last good one holds.
type remoteKeys struct {
	// Static after newRemoteKeys.
	name       string // the issuer's, for logs and metrics
	url        string
	algorithms []string
	client     *http.Client
	log        *slog.Logger
	metrics    *keyMetrics
	wanted     chan struct{} // size 1: somebody waits for a fetch; never closed

	mu      sync.Mutex // guards the following
	set     *keySet    // nil before the first good fetch
	fetched time.Time  // when set was fetched, or found to be still the same
	begun   time.Time  // the last fetch
	failed  bool       // so did the last fetch
	round   chan struct{}
}

func newRemoteKeys(cfg IssuerConfig, log *slog.Logger, m *keyMetrics) (*remoteKeys, error) {
	roots, err := certificates(cfg.CA)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: fetchTimeout}
	m.init(cfg.Name)
	return &remoteKeys{
		name: cfg.Name, url: cfg.JWKSURL, algorithms: cfg.Algorithms, log: log, metrics: m,
		client: &http.Client{
			Timeout: fetchTimeout,
			// A redirect could lead anywhere, into the node's own network too.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{ // without Proxy: the environment does not decide who is asked
				DialContext:            dialer.DialContext,
				TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout:    fetchTimeout,
				ResponseHeaderTimeout:  fetchTimeout,
				MaxResponseHeaderBytes: maxHeaderBytes,
				DisableKeepAlives:      true, // one fetch in minutes
				DisableCompression:     true,
			},
		},
		wanted: make(chan struct{}, 1),
		round:  make(chan struct{}),
	}, nil
}

// certificates are those that may sign a server's; nil are the system's.
func certificates(pem []byte) (*x509.CertPool, error) {
	if len(pem) == 0 {
		return nil, nil //nolint:nilnil // what crypto/tls calls the system's
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("has no certificate; it must be PEM, which begins with -----BEGIN CERTIFICATE-----")
	}
	return pool, nil
}

// checkURL says what is wrong with the address of a key set.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Fragment != "":
		return errors.New("is not a URL like https://issuer.example/.well-known/jwks.json")
	case u.User != nil:
		return errors.New("has a user or password, which do not belong in it")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("must begin with https://, or whoever is on the way could let anybody in; http:// is for this machine alone (127.0.0.1)")
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// run fetches until ctx ends.
func (r *remoteKeys) run(ctx context.Context) {
	defer r.client.CloseIdleConnections()
	for {
		next := jitter(fetchInterval)
		if !r.refresh(ctx) {
			next = jitter(fetchRetry)
		}
		select {
		case <-r.wanted: // before it, or meanwhile: this fetch was theirs
		default:
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-r.wanted:
			timer.Stop()
		}
	}
}

// jitter is d, or up to a tenth less.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/10) }

// refresh fetches the set once and ends the round of those who wait.
func (r *remoteKeys) refresh(ctx context.Context) (ok bool) {
	r.mu.Lock()
	r.begun = time.Now()
	r.mu.Unlock()
	set, err := r.fetch(ctx)
	if ctx.Err() != nil {
		return false // the node stops
	}
	r.mu.Lock()
	changed, recovered := err == nil && !sameKeys(r.set, set), r.failed
	lost := err != nil && !r.failed
	if err == nil {
		r.set, r.fetched = set, r.begun
	}
	age := time.Since(r.fetched)
	some := r.set != nil
	r.failed = err != nil
	close(r.round)
	r.round = make(chan struct{})
	r.mu.Unlock()
	r.metrics.fetched(r.name, set, err)
	issuer, from := slog.String("issuer", r.name), slog.String("url", RedactURL(r.url))
	switch {
	case changed:
		attrs := []any{issuer, slog.Int("keys", len(set.keys)), slog.Int("left_out", len(set.left))}
		if len(set.left) > 0 {
			attrs = append(attrs, slog.Any("why", errors.Join(set.left...)))
		}
		r.log.Info("keys fetched", attrs...)
	case err == nil && recovered:
		r.log.Info("keys can be fetched again", issuer)
	case lost && some:
		r.log.Warn("keys cannot be fetched, the last ones hold", issuer, from, slog.Duration("age", age), slog.Duration("until", maxKeyAge), slog.Any("err", err))
	case lost:
		r.log.Warn("keys cannot be fetched, tokens of this issuer cannot be verified", issuer, from, slog.Any("err", err))
	}
	return err == nil
}

func (r *remoteKeys) fetch(ctx context.Context) (*keySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", acceptedContent)
	req.Header.Set("User-Agent", fetchUserAgent)
	resp, err := r.client.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		return nil, fmt.Errorf("%s: %w", req.URL.Host, e.Err) // without the query, which may hold a secret
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // what was read is all there is to know
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("answered %d, and redirects are not followed; configure the URL that it leads to", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("answered %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxKeyBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxKeyBytes:
		return nil, fmt.Errorf("answered more than %d bytes", maxKeyBytes)
	}
	return parseJWKS(text, r.algorithms)
}

// find is part of keySource. Whoever names a key that is not known waits for a fetch, one
// for all, unless there was one just now: nobody can have the node ask more often. As the key
// may have been published since, only a fetch that has begun later says that it does not exist;
// until then it may be tried again.
func (r *remoteKeys) find(ctx context.Context, id, algorithm string) ([]crypto.PublicKey, error) {
	came := time.Now()
	found, round := r.look(id, algorithm)
	if len(found) > 0 {
		return found, nil
	}
	if round != nil {
		timer := time.NewTimer(fetchWait)
		defer timer.Stop()
		select {
		case <-round:
		case <-timer.C:
		case <-ctx.Done():
		}
		if found, _ = r.look(id, algorithm); len(found) > 0 {
			return found, nil
		}
	}
	if r.asOf(came) {
		return nil, errNoKey
	}
	return nil, ErrUnavailable
}

// look finds keys among those that are there; without any, round ends with the next fetch
// if one may be had now.
func (r *remoteKeys) look(id, algorithm string) (found []crypto.PublicKey, round <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.set != nil && time.Since(r.fetched) < maxKeyAge {
		if found = r.set.candidates(id, algorithm); len(found) > 0 {
			return found, nil
		}
	}
	if !r.begun.IsZero() && time.Since(r.begun) < fetchUnknown {
		if r.set == nil && !r.failed {
			return nil, r.round // the first one is under way
		}
		return nil, nil
	}
	select {
	case r.wanted <- struct{}{}:
	default:
	}
	return nil, r.round
}

// asOf reports whether the set was fetched at a time or later: a key that is not in it did
// not exist then.
func (r *remoteKeys) asOf(at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set != nil && !r.failed && !r.fetched.Before(at)
}
