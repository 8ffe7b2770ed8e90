package hook

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// Policy is what is answered while the breaker is open.
type Policy string

// The policies.
const (
	Deny   Policy = "deny"   // a temporary error
	Cached Policy = "cached" // the last answer to the same question, else as Deny
)

// Config is one hook. Zero fields take the defaults, but for Retries.
type Config struct {
	// Name in metrics and logs.
	Name string
	URL  string
	// Secret signs the requests; at least 16 bytes.
	Secret []byte
	// Timeout of one question, retries included.
	Timeout time.Duration
	// Retries after a connection that failed and 502, 503 and 504.
	Retries int
	// Concurrency is how many requests are under way at most.
	Concurrency int
	// Insecure allows plain HTTP to other machines.
	Insecure bool
	WhenOpen Policy
	// CacheTTL is how long an answer may be given again.
	CacheTTL time.Duration
	Breaker  Breaker
}

// Breaker says when a hook is left alone.
type Breaker struct {
	// Window over which requests are counted.
	Window time.Duration
	// MinRequests in the window, below which it never opens.
	MinRequests int
	// FailureRatio that opens it, above 0 up to 1.
	FailureRatio float64
	// OpenFor is how long it stays open; then HalfOpen requests are let through, all of
	// which must succeed.
	OpenFor  time.Duration
	HalfOpen int
}

// Bounds and defaults.
const (
	DefaultTimeout     = time.Second
	DefaultRetries     = 1
	DefaultConcurrency = 64
	DefaultCacheTTL    = 5 * time.Minute
	// MaxWaiting is how many questions wait for a place of one hook.
	MaxWaiting = 1024
	// MaxCached is how many answers of one hook are kept.
	MaxCached = 10000
	// MaxItems is how many messages one question is about at most.
	MaxItems = 100

	leastTimeout    = 10 * time.Millisecond
	mostTimeout     = 5 * time.Second
	mostRetries     = 3
	mostConcurrency = 1024
	mostTTL         = 24 * time.Hour
	mostWindow      = 10 * time.Minute
	mostRequests    = 100000
	leastSecret     = 16
	maxAnswer       = 64 << 10
	maxText         = 256 // of a denial's message
	idleConns       = 90 * time.Second
	warnEvery       = time.Minute
)

// WithDefaults fills in what is not set.
func (c Config) WithDefaults() Config {
	orDuration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	orInt := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	orDuration(&c.Timeout, DefaultTimeout)
	orDuration(&c.CacheTTL, DefaultCacheTTL)
	orDuration(&c.Breaker.Window, 10*time.Second)
	orDuration(&c.Breaker.OpenFor, 5*time.Second)
	orInt(&c.Concurrency, DefaultConcurrency)
	orInt(&c.Breaker.MinRequests, 10)
	orInt(&c.Breaker.HalfOpen, 3)
	if c.Breaker.FailureRatio == 0 {
		c.Breaker.FailureRatio = 0.5
	}
	if c.WhenOpen == "" {
		c.WhenOpen = Deny
	}
	return c
}

// Validate lists what is wrong with a hook that has its defaults, each with the key, its
// value and what is right. It never shows the secret or the URL's.
func (c Config) Validate() (errs []error) {
	check := func(ok bool, key string, value any, right string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: is %v, must be %s", key, value, right))
		}
	}
	if err := checkURL(c.URL, c.Insecure); err != nil {
		errs = append(errs, fmt.Errorf("url: %w", err))
	}
	switch {
	case len(c.Secret) == 0:
		errs = append(errs, errors.New("secret: is not set; set secret or secret_file, for example to the output of: openssl rand -hex 32"))
	case len(c.Secret) < leastSecret:
		errs = append(errs, fmt.Errorf("secret: has %d bytes, must have at least %d", len(c.Secret), leastSecret))
	}
	b := c.Breaker
	check(c.Timeout >= leastTimeout && c.Timeout <= mostTimeout, "timeout", c.Timeout, fmt.Sprintf("%v to %v", leastTimeout, mostTimeout))
	check(c.Retries >= 0 && c.Retries <= mostRetries, "retries", c.Retries, fmt.Sprintf("0 to %d", mostRetries))
	check(c.Concurrency >= 1 && c.Concurrency <= mostConcurrency, "concurrency", c.Concurrency, fmt.Sprintf("1 to %d", mostConcurrency))
	check(c.WhenOpen == Deny || c.WhenOpen == Cached, "when_open", fmt.Sprintf("%q", c.WhenOpen), "deny or cached")
	check(c.CacheTTL > 0 && c.CacheTTL <= mostTTL, "cache_ttl", c.CacheTTL, fmt.Sprintf("above 0 up to %v", mostTTL))
	check(b.Window >= time.Second && b.Window <= mostWindow, "breaker.window", b.Window, fmt.Sprintf("1s to %v", mostWindow))
	check(b.MinRequests >= 1 && b.MinRequests <= mostRequests, "breaker.min_requests", b.MinRequests, fmt.Sprintf("1 to %d", mostRequests))
	check(b.FailureRatio > 0 && b.FailureRatio <= 1, "breaker.failure_ratio", b.FailureRatio, "above 0 up to 1")
	check(b.OpenFor >= 100*time.Millisecond && b.OpenFor <= mostWindow, "breaker.open_for", b.OpenFor, fmt.Sprintf("100ms to %v", mostWindow))
	check(b.HalfOpen >= 1 && b.HalfOpen <= mostConcurrency, "breaker.half_open", b.HalfOpen, fmt.Sprintf("1 to %d", mostConcurrency))
	return errs
}

// checkURL never repeats the URL as it is: it may hold a password.
func checkURL(s string, insecure bool) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return errors.New("is not set; write for example https://example.com/rivulet")
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return errors.New("is not like https://example.com/rivulet")
	case u.Fragment != "":
		return errors.New("has a fragment, which is never sent; leave out what follows #")
	case u.Scheme == "http" && !insecure && !isLoopback(u.Hostname()):
		return errors.New("must be https: anybody on the way could read and answer it; set insecure: true if that is meant")
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
