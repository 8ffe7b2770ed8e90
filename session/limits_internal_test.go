package session

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// TestARefreshBringsNoNewBurst: a connection that is admitted anew goes on with the pacer
// that it has, and with a new one only where the rate is another.
func TestARefreshBringsNoNewBurst(t *testing.T) {
	l, err := limit.New(limit.DefaultConfig(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s := connection(t, &memoryStore{}, slog.New(slog.DiscardHandler))
	s.registry.services.Limits = l
	claims := auth.Claims{Subject: "alice", Limits: auth.Limits{OutboundBytes: 1000}}
	s.admit(claims)
	first := s.pacer.Load()
	for first.Take(100) {
	}
	s.admit(claims)
	if s.pacer.Load() != first {
		t.Error("the same claims bring another pacer")
	}
	claims.Limits.OutboundBytes = 999
	s.admit(claims)
	if next := s.pacer.Load(); next == first || next.Take(100) {
		t.Error("another rate has the old pacer, or brings a burst")
	}
	s.pacer.Load().Stop()
}
