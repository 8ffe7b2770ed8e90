package session_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// aged is a member that knows when it began.
type aged struct {
	born int64
	ends []protocol.DisconnectEvent
}

func (a *aged) Sweep(time.Time)                        {}
func (a *aged) Disconnect(ev protocol.DisconnectEvent) { a.ends = append(a.ends, ev) }
func (a *aged) Abort()                                 {}
func (a *aged) Born() int64                            { return a.born }

// TestSheddingClosesTheNewest: one in so many, ten at least, each told to come back at a
// time of its own.
func TestSheddingClosesTheNewest(t *testing.T) {
	r, err := session.NewRegistry(session.DefaultConfig(), session.Services{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r.Start(t.Context())
	var members []*aged
	var slots []*session.Slot
	for i := range 300 {
		slot, err := r.Admit(session.WebSocket)
		if err != nil {
			t.Fatal(err)
		}
		m := &aged{born: int64(i)}
		slot.Enter(m)
		members, slots = append(members, m), append(slots, slot)
	}
	if n := r.ShedNewest(10); n != 30 {
		t.Errorf("%d were closed, want a tenth of 300", n)
	}
	retries := map[int64]bool{}
	for i, m := range members {
		if closed := len(m.ends) > 0; closed != (i >= 270) {
			t.Errorf("connection %d of 300: closed is %v", i, closed)
		}
		for _, ev := range m.ends {
			retries[ev.RetryAfterMS] = true
			if ev.Code != protocol.CloseOverloaded || !ev.Reconnect || ev.RetryAfterMS < 1000 {
				t.Errorf("%+v", ev)
			}
		}
	}
	if len(retries) < 20 {
		t.Errorf("30 connections come back at %d moments", len(retries))
	}
	if n := r.ShedNewest(1000); n != 10 {
		t.Errorf("%d were closed, want ten at least", n)
	}
	for i, m := range members {
		slots[i].Leave(m)
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSlotsCountTheirCallers: by address and user, until they are released.
func TestSlotsCountTheirCallers(t *testing.T) {
	cfg := limit.DefaultConfig()
	cfg.ConnectionsPerIP, cfg.ConnectionsPerUser = 3, 2
	limits, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r, err := session.NewRegistry(session.DefaultConfig(), session.Services{Limits: limits}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r.Start(t.Context())
	admit := func(address, user string) (*session.Slot, error) {
		req := httptest.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "/v1/ws", http.NoBody)
		req.RemoteAddr = address
		return r.AdmitFrom(session.WebSocket, req, user)
	}
	var slots []*session.Slot
	for i, tc := range []struct {
		address, user string
		ok            bool
	}{
		{"192.0.2.1:1", "ann", true},
		{"192.0.2.1:2", "ann", true},
		{"192.0.2.1:3", "ann", false}, // of the user
		{"192.0.2.1:4", "bob", true},
		{"192.0.2.1:5", "cid", false}, // of the address
		{"192.0.2.2:1", "ann", false},
		{"192.0.2.2:2", "", true},
	} {
		slot, err := admit(tc.address, tc.user)
		if (err == nil) != tc.ok {
			t.Errorf("connection %d: %v", i, err)
		}
		if err == nil {
			slots = append(slots, slot)
		}
	}
	for _, slot := range slots {
		slot.Release()
	}
	for range 2 {
		slot, err := admit("192.0.2.1:6", "ann")
		if err != nil {
			t.Fatalf("after all have left: %v", err)
		}
		slots = append(slots, slot)
	}
	if got := r.Len(); got != 2 {
		t.Errorf("%d connections are counted, want 2: those refused are not", got)
	}
	for _, slot := range slots {
		slot.Release() // once is enough, also twice
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}
