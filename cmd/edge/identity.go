package edge

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
)

// IdentityConfig is a publisher that is known by its client certificate.
type IdentityConfig struct {
	// Subject is a URI that the certificate has as an alternative name, such as
	// spiffe://example/shop, or else its common name.
	Subject      string
	Capabilities map[string][]auth.Action
}

// maxSubject bounds a subject, in bytes.
const maxSubject = 256

// Authenticator turns a token, "" where none was sent, into claims.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (auth.Claims, error)
}

// Identities are the publishers that are known by their certificates. They are static.
type Identities []identity

type identity struct {
	subject string
	claims  auth.Claims
}

// NewIdentities reads the configuration. The error has every problem.
func NewIdentities(configs []IdentityConfig) (Identities, error) {
	var ids Identities
	var errs []error
	for i, c := range configs {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("auth.certificates[%d].%s", i, fmt.Sprintf(format, args...)))
		}
		same := func(id identity) bool { return id.subject == c.Subject }
		switch _, err := url.Parse(c.Subject); {
		case c.Subject == "" || len(c.Subject) > maxSubject:
			fail("subject: must have 1 to %d bytes", maxSubject)
		case err != nil && isURI(c.Subject):
			fail("subject: %q is no URI", c.Subject)
		case slices.ContainsFunc(ids, same):
			fail("subject: %q is used twice", c.Subject)
		}
		caps, err := auth.NewCapabilities(c.Capabilities)
		switch {
		case err != nil:
			for line := range strings.SplitSeq(err.Error(), "\n") {
				fail("capabilities: %s", line)
			}
		case caps.IsZero():
			fail(`capabilities: missing; write for example {"chat:>": ["publish"]}`)
		}
		ids = append(ids, identity{c.Subject, auth.Claims{Key: "certificate:" + c.Subject, Capabilities: caps}})
	}
	return ids, errors.Join(errs...)
}

func isURI(subject string) bool { return strings.Contains(subject, "://") }

func (id identity) is(cert *x509.Certificate) bool {
	if !isURI(id.subject) {
		return cert.Subject.CommonName == id.subject
	}
	return slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.String() == id.subject })
}

// certifiedKey is where a request's context has the claims of its certificate.
type certifiedKey struct{}

// Middleware notes for [Identities.Authenticator] whom a request's certificate is of. It
// counts only on the node's own TLS, where it was verified, and not for requests of
// browsers: these send it whatever page asks.
func (ids Identities) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch claims, ok := ids.claims(r); {
		case ok:
			r = r.WithContext(context.WithValue(r.Context(), certifiedKey{}, claims))
		case r.TLS != nil && len(r.TLS.VerifiedChains) > 0:
			r = r.WithContext(context.WithValue(r.Context(), certifiedKey{}, unknown(r)))
		}
		next.ServeHTTP(w, r)
	})
}

func (ids Identities) claims(r *http.Request) (auth.Claims, bool) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return auth.Claims{}, false
	}
	leaf := r.TLS.VerifiedChains[0][0]
	i := slices.IndexFunc(ids, func(id identity) bool { return id.is(leaf) })
	if i < 0 {
		return auth.Claims{}, false
	}
	claims := ids[i].claims
	claims.ExpiresAt = leaf.NotAfter
	return claims, true
}

// unknownError says of a request's certificate why it gives nothing, where a token is
// missing, too.
type unknownError struct{ why string }

func (e *unknownError) Error() string { return auth.ErrMissing.Error() + ": " + e.why }
func (e *unknownError) Unwrap() error { return auth.ErrMissing }

func unknown(r *http.Request) *unknownError {
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return &unknownError{"a client certificate does not count for requests of browsers"}
	}
	leaf := r.TLS.VerifiedChains[0][0]
	names := []string{leaf.Subject.CommonName}
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	return &unknownError{fmt.Sprintf("no entry of auth.certificates has a subject of the client certificate, which has %.*q", maxSubject, names)}
}

// Authenticator is next, but for requests without a token whose certificate says enough.
func (ids Identities) Authenticator(next Authenticator) Authenticator {
	return certified{next}
}

type certified struct{ next Authenticator }

// Authenticate implements Authenticator.
func (c certified) Authenticate(ctx context.Context, token string) (auth.Claims, error) {
	if err, ok := ctx.Value(certifiedKey{}).(*unknownError); ok && token == "" {
		claims, nextErr := c.next.Authenticate(ctx, token)
		if errors.Is(nextErr, auth.ErrMissing) {
			return claims, err
		}
		return claims, nextErr
	}
	claims, ok := ctx.Value(certifiedKey{}).(auth.Claims)
	switch {
	case token != "" || !ok:
		return c.next.Authenticate(ctx, token)
	case claims.Expired(time.Now()):
		return auth.Claims{}, fmt.Errorf("%w: the client certificate has ended", auth.ErrExpired)
	}
	return claims, nil
}
