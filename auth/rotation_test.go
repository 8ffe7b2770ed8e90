package auth_test

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/rivulet-rt/rivulet/auth"
)

// keyHost answers fetches in a bubble; nil is away.
type keyHost struct {
	mu   sync.Mutex // guards the following
	text []byte
}

func (h *keyHost) say(text []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = text
}

func (h *keyHost) RoundTrip(*http.Request) (*http.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.text == nil {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(h.text))}, nil
}

// TestRotationAndOutage: a new key is found when a token names it, the old one holds as
// long as it is published, and the last good set for a day. That a key does not exist is said
// only by a set that is newer than the token: who comes with the first tokens of a new key,
// when a stranger has just had the set fetched, comes again.
func TestRotationAndOutage(t *testing.T) {
	pairs := map[string]pair{"old": newEC(elliptic.P256()), "new": newEC(elliptic.P256()), "stray": newEC(elliptic.P256())}
	set := func(ids ...string) []byte {
		var keys []jose.JSONWebKey
		for _, id := range ids {
			keys = append(keys, jose.JSONWebKey{Key: pairs[id].private.Public(), KeyID: id})
		}
		return jwks(t, keys...)
	}
	token := func(id string) string {
		p := fmt.Sprintf(`{"iss":"https://idp.example","aud":"rivulet","exp":%d}`, time.Now().Add(time.Hour).Unix())
		return signed(t, "ES256", `{"alg":"ES256","kid":"`+id+`"}`, p, pairs[id].private)
	}
	first, overlap, last := set("old"), set("old", "new"), set("new")
	synctest.Test(t, func(t *testing.T) {
		cfg := issuer("ES256")
		cfg.JWKSURL = "https://idp.example/jwks"
		v := newVerifier(t, auth.Config{Tokens: []auth.IssuerConfig{cfg}})
		host := &keyHost{}
		auth.TransportForTest(v, host)
		v.Start(t.Context())
		defer func() { _ = v.Stop(t.Context()) }()
		want := func(when, id string, want error) {
			t.Helper()
			if _, err := v.Authenticate(t.Context(), token(id)); !errors.Is(err, want) {
				t.Errorf("%s, %s: %v, want %v", when, id, err, want)
			}
		}
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		want("away from the start", "old", auth.ErrUnavailable)
		host.say(first)
		pass(11 * time.Second)
		want("back", "old", nil)
		pass(11 * time.Second)
		want("before it is published", "new", auth.ErrInvalid)
		host.say(overlap)
		pass(time.Second)
		want("just published", "new", auth.ErrUnavailable)
		pass(11 * time.Second)
		want("published", "new", nil)
		want("overlap", "old", nil)
		pass(time.Second)
		want("a stranger's, just now", "stray", auth.ErrUnavailable)
		pass(11 * time.Second)
		want("a stranger's", "stray", auth.ErrInvalid)
		host.say(last)
		pass(6 * time.Minute)
		want("withdrawn", "old", auth.ErrInvalid)
		host.say(nil)
		pass(23 * time.Hour)
		want("away for long", "new", nil)
		want("away, another key", "old", auth.ErrUnavailable)
		pass(2 * time.Hour)
		want("away too long", "new", auth.ErrUnavailable)
		host.say(last)
		pass(time.Minute)
		want("back again", "new", nil)
	})
}

// FuzzVerifier: nothing but what was signed is accepted, and whatever is signed ends in
// claims or in one of our errors.
func FuzzVerifier(f *testing.F) {
	key := newEC(elliptic.P256())
	cfg := issuer("ES256")
	cfg.PublicKeys = key.pem
	v := newVerifier(f, auth.Config{HMAC: hmacConfig(), Tokens: []auth.IssuerConfig{cfg}})
	f.Add(`{"alg":"ES256","kid":"k"}`, payload(""), true)
	f.Add(`{"alg":"HS256"}`, payload(`,"channels":["chat:${sub}"],"limits":{"commands":1}`), false)
	f.Add(`{"alg":"ES256"}`, `{"channel":"chat:a","actions":["history"],"exp":4e9}`, true)
	f.Fuzz(func(t *testing.T, header, payload string, ours bool) {
		by := key
		if !ours {
			by = newEC(elliptic.P256())
		}
		c, err := v.Authenticate(t.Context(), signed(t, "ES256", header, payload, by.private))
		switch {
		case err == nil && !ours:
			t.Errorf("accepted what a stranger signed: %s", payload)
		case err == nil && (c.ExpiresAt.IsZero() || c.Channel != "" || len(c.Channels) > auth.MaxTokenChannels):
			t.Errorf("claims %+v", c)
		case err != nil && !errors.Is(err, auth.ErrInvalid) && !errors.Is(err, auth.ErrExpired):
			t.Errorf("error %v is none of ours", err)
		}
	})
}
