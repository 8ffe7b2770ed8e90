package cmd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/session"
)

// holds is a verifier that finds the same claims in every token.
type holds auth.Claims

func (v holds) Authenticate(context.Context, string) (auth.Claims, error) { return auth.Claims(v), nil }

// playedHook is one that a test plays.
func playedHook(t *testing.T, answer http.HandlerFunc) *hook.Hook {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	cfg := hook.Config{Name: "connect", URL: server.URL, Secret: bytes.Repeat([]byte{'x'}, 16)}.WithDefaults()
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
