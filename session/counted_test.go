package session_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// TestAConnectionIsCountedAsOneUsers: one that says who it is later, or that changes it,
// leaves no count behind.
func TestAConnectionIsCountedAsOneUsers(t *testing.T) {
	cfg := limit.DefaultConfig()
	cfg.ConnectionsPerUser = 1
	limits, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	r, err := session.NewRegistry(session.DefaultConfig(), session.Services{Limits: limits}, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	r.Start(t.Context())
	admit := func(user string) (*session.Slot, error) {
		return r.AdmitFrom(session.WebSocket, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/ws", nil), user)
	}
	first, err := admit("")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.CountAs("ann"); err != nil {
		t.Fatal(err)
	}
	if _, err := admit("ann"); !isLimit(err, limit.ReasonConnectionsUser) {
		t.Errorf("a second of ann: %v", err)
	}
	const rejected = `
# HELP rivulet_session_rejected_total Connections not admitted: full, draining, over a limit, of a page that may not, or a handshake in error.
# TYPE rivulet_session_rejected_total counter
rivulet_session_rejected_total{reason="draining"} 0
rivulet_session_rejected_total{reason="full"} 0
rivulet_session_rejected_total{reason="handshake"} 0
rivulet_session_rejected_total{reason="limit"} 1
rivulet_session_rejected_total{reason="origin"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(rejected), "rivulet_session_rejected_total"); err != nil {
		t.Error(err)
	}
	if err := first.CountAs("bob"); err != nil {
		t.Fatal(err)
	}
	second, err := admit("ann")
	if err != nil {
		t.Fatalf("ann's connection is bob's, and another of ann's is refused: %v", err)
	}
	if err := first.CountAs("ann"); !isLimit(err, limit.ReasonConnectionsUser) {
		t.Errorf("back to ann, who has another: %v", err)
	}
	if _, err := admit("bob"); !isLimit(err, limit.ReasonConnectionsUser) {
		t.Errorf("one that could not change is still bob's: %v", err)
	}
	first.Release()
	second.Release()
	for _, user := range []string{"ann", "bob"} {
		slot, err := admit(user)
		if err != nil {
			t.Errorf("after all have ended, one of %s: %v", user, err)
			continue
		}
		slot.Release()
	}
	if err := r.Drain(context.Background()); err != nil {
		t.Error(err)
	}
}

func isLimit(err error, reason limit.Reason) bool {
	e, ok := errors.AsType[*limit.Error](err)
	return ok && e.Reason == reason
}
