package auth_test

import (
	"crypto/elliptic"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/rivulet-rt/rivulet/auth"
)

// keyServer serves a key set that a test changes.
type keyServer struct {
	*httptest.Server
	answer  atomic.Pointer[http.HandlerFunc]
	fetches atomic.Int32
}

func newKeyServer(tb testing.TB, h http.HandlerFunc) *keyServer {
	tb.Helper()
	s := &keyServer{}
	s.answer.Store(&h)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		(*s.answer.Load())(w, r)
	}))
	tb.Cleanup(s.Close)
	return s
}

func serving(text []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }
}

func fetching(tb testing.TB, url string) *auth.Verifier {
	tb.Helper()
	cfg := issuer("ES256")
	cfg.JWKSURL = url
	v := newVerifier(tb, auth.Config{Tokens: []auth.IssuerConfig{cfg}})
	v.Start(tb.Context())
	tb.Cleanup(func() { _ = v.Stop(tb.Context()) })
	return v
}

func TestKeySetIsFetched(t *testing.T) {
	key, stranger := newEC(elliptic.P256()), newEC(elliptic.P256())
	weak := jose.JSONWebKey{Key: rsaKey().private.Public(), KeyID: "rsa"}
	secret := jose.JSONWebKey{Key: []byte(hmacSecret), KeyID: "oct"}
	s := newKeyServer(t, serving(jwks(t, weak, secret, jose.JSONWebKey{Key: key.private.Public(), KeyID: "k1", Use: "sig"})))
	v := fetching(t, s.URL)
	token := signed(t, "ES256", `{"alg":"ES256","kid":"k1"}`, payload(""), key.private)
	if _, err := v.Authenticate(t.Context(), token); err != nil { // waits for the first fetch
		t.Fatal(err)
	}
	for range 100 { // nobody can have the node ask more often, and so it is not known yet
		bad := signed(t, "ES256", `{"alg":"ES256","kid":"k2"}`, payload(""), stranger.private)
		if _, err := v.Authenticate(t.Context(), bad); !errors.Is(err, auth.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := s.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// TestKeySetCannotBeHad: whatever the server does, tokens of its issuer are answered as
// what cannot be told now, in bounded time.
func TestKeySetCannotBeHad(t *testing.T) {
	key := newEC(elliptic.P256())
	good := jwks(t, jose.JSONWebKey{Key: key.private.Public(), KeyID: "k1"})
	elsewhere := newKeyServer(t, serving(good))
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	many := make([]jose.JSONWebKey, 33)
	for i := range many {
		many[i] = jose.JSONWebKey{Key: key.private.Public(), KeyID: "k1"}
	}
	token := signed(t, "ES256", `{"alg":"ES256","kid":"k1"}`, payload(""), key.private)
	for name, h := range map[string]http.HandlerFunc{
		"500":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(strings.Repeat(" ", 300<<10)))
			_, _ = w.Write(good)
		},
		"too many keys": serving(jwks(t, many...)),
		"no keys":       serving([]byte(`{"keys":[]}`)),
		"no JSON":       serving([]byte(`<html>`)),
		"a private key": serving(jwks(t, jose.JSONWebKey{Key: key.private, KeyID: "k1"})),
		"slow": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			_, err := fetching(t, newKeyServer(t, h).URL).Authenticate(t.Context(), token)
			if !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("error %v", err)
			}
			if d := time.Since(begun); d > 10*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
	if elsewhere.fetches.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestKeySetURL(t *testing.T) {
	for url, says := range map[string]string{
		"https://idp.example/jwks":           "",
		"http://127.0.0.1:8080/jwks":         "",
		"http://idp.example/jwks":            "https://",
		"http://169.254.169.254/latest/meta": "https://",
		"file:///etc/passwd":                 "is not a URL",
		"https://user:pw@idp.example/jwks":   "user or password",
		"ftp://idp.example/jwks":             "https://",
	} {
		cfg := issuer("ES256")
		cfg.JWKSURL = url
		if err := cfg.Validate(); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", url, err, says)
		}
	}
}

func TestIssuerValidate(t *testing.T) {
	ec, weak := newEC(elliptic.P256()), newRSA(1024)
	with := func(change func(*auth.IssuerConfig)) auth.IssuerConfig {
		c := issuer("ES256")
		c.PublicKeys = ec.pem
		change(&c)
		return c
	}
	for _, tc := range []struct {
		cfg  auth.IssuerConfig
		says string
	}{
		{with(func(c *auth.IssuerConfig) { c.Algorithms = nil }), "algorithms: are missing"},
		{with(func(c *auth.IssuerConfig) { c.Algorithms = []string{"HS256"} }), "auth.hmac"},
		{with(func(c *auth.IssuerConfig) { c.Algorithms = []string{"none"} }), "is not one of"},
		{with(func(c *auth.IssuerConfig) { c.Algorithms = []string{"ES256", "RS256"} }), "different families"},
		{with(func(c *auth.IssuerConfig) { c.Algorithms = []string{"ES384"} }), "is not a key for"},
		{with(func(c *auth.IssuerConfig) { c.PublicKeys = weak.pem; c.Algorithms = []string{"RS256"} }), "RSA key of 1024 bits"},
		{with(func(c *auth.IssuerConfig) { c.JWKSURL = "https://idp.example/jwks" }), "give exactly one"},
		{with(func(c *auth.IssuerConfig) { c.PublicKeys = nil }), "give exactly one"},
		{with(func(c *auth.IssuerConfig) { c.PublicKeys = []byte("ssh-rsa AAAA") }), "BEGIN PUBLIC KEY"},
		{with(func(c *auth.IssuerConfig) { c.PublicKeys = nil; c.JWKS = []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`) }), "does not belong in a key set"},
		{with(func(c *auth.IssuerConfig) { c.Leeway = time.Hour }), "leeway"},
		{with(func(c *auth.IssuerConfig) { c.Capabilities = map[string][]auth.Action{"a:b": {"fly"}} }), "capabilities"},
	} {
		if err := tc.cfg.Validate(); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%v, want %q", err, tc.says)
		}
	}
}

// TestRotatedSecret: the previous secret verifies, and nothing else does.
func TestRotatedSecret(t *testing.T) {
	cfg := hmacConfig()
	cfg.PreviousSecret = auth.NewSecret(strings.Repeat("previous", 8))
	v := newVerifier(t, auth.Config{HMAC: cfg})
	exp := payload("")
	for secret, want := range map[string]error{hmacSecret: nil, strings.Repeat("previous", 8): nil, strings.Repeat("another!", 8): auth.ErrInvalid} {
		if _, err := v.Authenticate(t.Context(), sign(t, "HS256", `{"alg":"HS256"}`, exp, secret)); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}
