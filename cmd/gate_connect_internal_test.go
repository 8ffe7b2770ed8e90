package cmd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/session"
)

// holds is a verifier that finds the same claims in every token.
type holds auth.Claims

func (v holds) Authenticate(context.Context, string) (auth.Claims, error) { return auth.Claims(v), nil }

// playedHook is one that a test plays; its last answers are given again while it fails.
func playedHook(t *testing.T, answer http.HandlerFunc) *hook.Hook {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	cfg := hook.Config{
		Name: "connect", URL: server.URL, Secret: bytes.Repeat([]byte{'x'}, 16), WhenOpen: hook.Cached, Timeout: 5 * time.Second,
		Breaker: hook.Breaker{OpenFor: time.Minute},
	}.WithDefaults()
	h := hook.New(cfg, hook.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	t.Cleanup(h.Close)
	return h
}

// TestConnectHookNarrowsChannels: of the channels that a token names, those stay that the
// hook's capabilities still cover.
func TestConnectHookNarrowsChannels(t *testing.T) {
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"chat:>": {auth.Subscribe}})
	if err != nil {
		t.Fatal(err)
	}
	token := holds{Subject: "ann", Capabilities: caps, Channels: []string{"chat:secret", "chat:lobby"}}
	g := &connectGate{verifier: token, log: slog.New(slog.DiscardHandler), hook: playedHook(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"allow":true,"claims":{"caps":{"chat:lobby":["subscribe"]}}}`)
	})}
	claims, err := g.Authenticate(t.Context(), "x", session.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(claims.Channels, []string{"chat:lobby"}) {
		t.Errorf("subscribed at once to %v", claims.Channels)
	}
	if !slices.Equal(token.Channels, []string{"chat:secret", "chat:lobby"}) {
		t.Error("the token's own claims were changed, which others may share")
	}
}

// answersClaims is a gate whose hook gives the claims to a token that may subscribe to
// chat:>, and that writes its log to w.
func answersClaims(t *testing.T, claims string, w io.Writer) *connectGate {
	t.Helper()
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"chat:>": {auth.Subscribe}})
	if err != nil {
		t.Fatal(err)
	}
	return &connectGate{
		verifier: holds{Subject: "ann", Capabilities: caps}, log: slog.New(slog.NewTextHandler(w, nil)),
		hook: playedHook(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"allow":true,"claims":`+claims+`}`)
		}),
	}
}

// TestConnectHookIsUnderstoodOrRefused: claims that a hook misspells would leave the
// caller all that the token or the grants have.
func TestConnectHookIsUnderstoodOrRefused(t *testing.T) {
	for claims, want := range map[string]struct {
		err  error
		logs string
	}{
		`{"capabilities":{"chat:a":["subscribe"]}}`: {hook.ErrUnavailable, "capabilities"},
		`{"caps":null}`:                            {hook.ErrUnavailable, "claims.caps: must not be null"},
		`{"caps":["subscribe"]}`:                   {hook.ErrUnavailable, "claims.caps"},
		`{"expires_in_ms":null}`:                   {hook.ErrUnavailable, "claims.expires_in_ms"},
		`{"expires_in_ms":"60000"}`:                {hook.ErrUnavailable, "claims.expires_in_ms"},
		`{"expires_in_ms":0}`:                      {auth.ErrExpired, ""},
		`{"expires_in_ms":-5}`:                     {auth.ErrExpired, ""},
		`{"expires_in_ms":60000}`:                  {nil, ""},
		`{"caps":{}}`:                              {nil, ""},
		`{"caps":{"chat:a":["read"]}}`:             {nil, "there is no action"},
		`{"caps":{"Chat:ann-secret":["publish"]}}`: {nil, "it is no pattern: the namespace must be"},
		`{"caps":{"chat:a":["publish"]}}`:          {nil, "publish is covered by neither"},
		`null`:                                     {nil, ""},
	} {
		var log bytes.Buffer
		_, err := answersClaims(t, claims, &log).Authenticate(t.Context(), "x", session.Peer{})
		if !errors.Is(err, want.err) || err != nil && want.err == nil {
			t.Errorf("%s: %v, want %v", claims, err, want.err)
		}
		if got := log.String(); !strings.Contains(got, want.logs) || want.logs == "" && got != "" || strings.Contains(got, "ann-secret") {
			t.Errorf("%s: logged %q, want %q", claims, got, want.logs)
		}
	}
}

// TestConnectHookLogsOnce: what does not count is logged for the operator, not for each
// connection.
func TestConnectHookLogsOnce(t *testing.T) {
	var log bytes.Buffer
	g := answersClaims(t, `{"caps":{"chat:a":["read"]}}`, &log)
	for range 3 {
		claims, err := g.Authenticate(t.Context(), "x", session.Peer{})
		if err != nil || claims.Allows(auth.Subscribe, "chat:a") {
			t.Fatalf("%v, %v", claims.Capabilities, err)
		}
	}
	if n := strings.Count(log.String(), "do not count"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &log)
	}
}

// TestConnectHookStaysWithinTheToken: a hook can neither give the user of a token another
// name nor the token more time than it has.
func TestConnectHookStaysWithinTheToken(t *testing.T) {
	end := time.Now().Add(time.Hour)
	for text, want := range map[string]struct {
		err error
		sub string
		end func(time.Time) bool
	}{
		`{"sub":"admin"}`:            {err: hook.ErrUnavailable},
		`{"sub":""}`:                 {err: hook.ErrUnavailable},
		`{"sub":"ann"}`:              {sub: "ann", end: end.Equal},
		`{"expires_in_ms":86400000}`: {sub: "ann", end: end.Equal},
		`{"expires_in_ms":60000}`:    {sub: "ann", end: end.After},
	} {
		g := &connectGate{verifier: holds{Subject: "ann", ExpiresAt: end}, log: slog.New(slog.DiscardHandler), hook: playedHook(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"allow":true,"claims":`+text+`}`)
		})}
		claims, err := g.Authenticate(t.Context(), "x", session.Peer{})
		if !errors.Is(err, want.err) || claims.Subject != want.sub || want.end != nil && !want.end(claims.ExpiresAt) {
			t.Errorf("%s: %v, %q until %v", text, err, claims.Subject, claims.ExpiresAt)
		}
	}
	key := &connectGate{verifier: holds{Key: "ci"}, log: slog.New(slog.DiscardHandler), hook: playedHook(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"allow":true,"claims":{"sub":"ann"}}`)
	})}
	if claims, err := key.Authenticate(t.Context(), "x", session.Peer{}); err == nil {
		t.Errorf("an API key has become %q", claims.Subject)
	}
}

// TestConnectAnswersAreAsOld: an answer that is given again while the hook is away is of when
// the hook gave it: a revocation since then outlives it, and its time goes on.
func TestConnectAnswersAreAsOld(t *testing.T) {
	var down atomic.Bool
	g := &connectGate{instead: true, grants: auth.Everything(), log: slog.New(slog.DiscardHandler), hook: playedHook(t, func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, `{"allow":true,"claims":{"sub":"ann","expires_in_ms":3600000}}`)
	})}
	first, err := g.Authenticate(t.Context(), "x", session.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	for range 20 {
		_, _ = g.Authenticate(t.Context(), "other", session.Peer{})
	}
	again, err := g.Authenticate(t.Context(), "x", session.Peer{})
	if err != nil || !again.IssuedAt.Equal(first.IssuedAt) || !again.ExpiresAt.Equal(first.ExpiresAt) {
		t.Errorf("%v; issued %v, then %v; until %v, then %v", err, first.IssuedAt, again.IssuedAt, first.ExpiresAt, again.ExpiresAt)
	}
	store, err := auth.NewStore(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := auth.Revocation{User: "ann", IssuedBefore: time.Now().Add(time.Second), Expires: time.Now().Add(time.Hour)}
	value, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	store.Apply([]auth.Change{{Kind: auth.KindUser, Name: "ann", Value: value}}, false)
	if !store.Revoked(again) {
		t.Error("it outlives a revocation")
	}
	_, err = g.apply(auth.Claims{}, []byte(`{"expires_in_ms":1000}`), time.Now().Add(-time.Minute))
	if !errors.Is(err, errOver) {
		t.Errorf("an answer whose time is over: %v", err)
	}
}

// TestCallersOfTheConnectHook: whose questions wait for each other.
func TestCallersOfTheConnectHook(t *testing.T) {
	for _, c := range []struct {
		a, b auth.Claims
		x, y string
		same bool
	}{
		{x: "192.0.2.1", y: "192.0.2.1", same: true},
		{x: "192.0.2.1", y: "192.0.2.2"},
		{x: "192.0.2.1", y: "::ffff:192.0.2.1", same: true},
		{x: "2001:db8::1", y: "2001:db8::2", same: true},
		{x: "2001:db8::1", y: "2001:db8:0:1::1"},
		{a: auth.Claims{Subject: "ann"}, b: auth.Claims{Subject: "ann"}, x: "192.0.2.1", y: "192.0.2.2", same: true},
		{a: auth.Claims{Subject: "ann"}, b: auth.Claims{Key: "ann"}, x: "192.0.2.1", y: "192.0.2.1"},
		{x: "", y: "", same: true},
	} {
		if got := stranger(c.a, session.Peer{Addr: c.x}) == stranger(c.b, session.Peer{Addr: c.y}); got != c.same {
			t.Errorf("%+v: the same caller: %v", c, got)
		}
	}
}
