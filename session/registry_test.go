package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

func TestConfigValidate(t *testing.T) {
	if err := session.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, tc := range []struct {
		key    string
		change func(*session.Config)
	}{
		{"max_connections", func(c *session.Config) { c.MaxConnections = 0 }},
		{"max_frame", func(c *session.Config) { c.MaxFrame = 1 }},
		{"max_subscriptions", func(c *session.Config) { c.MaxSubscriptions = -1 }},
		{"max_publishes", func(c *session.Config) { c.MaxPublishes = 0 }},
		{"soft_buffer", func(c *session.Config) { c.SoftBuffer = 0 }},
		{"hard_buffer", func(c *session.Config) { c.HardBuffer = c.SoftBuffer }},
		{"ping_interval", func(c *session.Config) { c.PingInterval = 0 }},
		{"dead_after", func(c *session.Config) { c.DeadAfter = c.PingInterval }},
		{"stall_timeout", func(c *session.Config) { c.StallTimeout = -time.Second }},
		{"connect_timeout", func(c *session.Config) { c.ConnectTimeout = 0 }},
		{"command_timeout", func(c *session.Config) { c.CommandTimeout = 2 * time.Hour }},
		{"close_timeout", func(c *session.Config) { c.CloseTimeout = 0 }},
		{"drain_window", func(c *session.Config) { c.DrainWindow = 0 }},
		{"flush_interval", func(c *session.Config) { c.FlushInterval = 0 }},
		{"flush_interval", func(c *session.Config) { c.FlushInterval = time.Minute + 1 }},
		{"origins[1]", func(c *session.Config) { c.Origins = []string{"*", "app.example"} }},
		{"origins[0]", func(c *session.Config) { c.Origins = []string{"https://app.*.example"} }},
		{"origins[0]", func(c *session.Config) { c.Origins = []string{"https://app.example:80:*"} }},
		{"origins[0]", func(c *session.Config) { c.Origins = []string{"https://*:*"} }},
		{"origins[0]", func(c *session.Config) { c.Origins = []string{"https://app.example/"} }},
	} {
		t.Run(tc.key, func(t *testing.T) {
			cfg := session.DefaultConfig()
			tc.change(&cfg)
			if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "session."+tc.key+":") {
				t.Errorf("got %v, want an error that names session.%s", err, tc.key)
			}
			_, err := session.NewRegistry(cfg, session.Services{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err == nil {
				t.Error("a registry took it")
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	for _, tc := range []struct {
		list           []string
		origin         string
		allowed, cross bool
	}{
		{nil, "", true, false},
		{nil, "https://node.example", true, false},
		{nil, "http://node.example", false, true}, // the request is over TLS
		{[]string{"http://node.example"}, "http://node.example", true, true},
		{nil, "https://other.example", false, true},
		{[]string{"*"}, "https://other.example", true, true},
		{[]string{"*"}, "null", true, true},
		{[]string{"https://a.example:8443"}, "https://a.example:8443", true, true},
		{[]string{"https://a.example:8443"}, "https://a.example", false, true},
		{[]string{"https://*.a.example"}, "https://x.a.example", true, true},
		{[]string{"https://*.a.example"}, "https://.a.example", false, true},
		{[]string{"http://localhost:*"}, "http://localhost:5173", true, true},
		{[]string{"http://localhost:*"}, "http://localhost", true, true},
		{[]string{"http://localhost:*"}, "https://localhost:5173", false, true},
		{[]string{"http://localhost:*"}, "http://localhost.evil.example:80", false, true},
		{[]string{"http://[::1]:*"}, "http://[::1]:5173", true, true},
		{[]string{"http://[::1]:*"}, "http://[::1]", true, true},
		{[]string{"https://*.a.example:*"}, "https://x.a.example:1", true, true},
	} {
		o, err := session.ParseOrigins(tc.list)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://node.example/v1/ws", nil)
		if tc.origin != "" {
			r.Header.Set("Origin", tc.origin)
		}
		if allowed, cross := o.Allow(r); allowed != tc.allowed || cross != tc.cross {
			t.Errorf("%v, %q: got %v %v, want %v %v", tc.list, tc.origin, allowed, cross, tc.allowed, tc.cross)
		}
	}
	for _, from := range []string{"http://node.example", "https://node.example"} { // a proxy may end TLS
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://node.example/v1/ws", nil)
		r.Header.Set("Origin", from)
		if allowed, cross := new(session.Origins).Allow(r); !allowed || cross {
			t.Errorf("%s without TLS: got %v %v, want true false", from, allowed, cross)
		}
	}
}

func TestErrorEvent(t *testing.T) {
	until := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		err    error
		code   protocol.Code
		field  string
		text   string
		status int
	}{
		{fanout.ErrUnknownNamespace, protocol.ErrorNotFound, "channel", "not configured", 404},
		{fmt.Errorf("open: %w", &fanout.RoomError{Problem: "raise --disk-budget"}), protocol.ErrorNotFound, "channel", "raise --disk-budget", 404},
		{fmt.Errorf("x: %w", fanout.ErrUnavailable), protocol.ErrorUnavailable, "", "nothing was stored", 503},
		{fanout.ErrTooBusy, protocol.ErrorTooManyRequests, "", "nothing was stored", 429},
		{fanout.ErrDiskFull, protocol.ErrorUnavailable, "", "disk", 503},
		{&fanout.OutcomeUnknownError{RetryUntil: until, Cause: fanout.ErrUnavailable}, protocol.ErrorOutcomeUnknown, "", "before 2026-11-23T12:00:00Z", 504},
		{&fanout.OutcomeUnknownError{Cause: context.DeadlineExceeded}, protocol.ErrorOutcomeUnknown, "", "twice", 504},
		{fanout.ErrKeyConflict, protocol.ErrorConflict, "idempotency_key", "other content", 409},
		{fanout.ErrTooLarge, protocol.ErrorTooLarge, "data", "namespaces.<name>.max_message_bytes", 413},
		{fmt.Errorf("publish: %w", &fanout.SizeError{Problem: "has 9 bytes"}), protocol.ErrorTooLarge, "data", "has 9 bytes", 413},
		{fanout.ErrAlreadySubscribed, protocol.ErrorConflict, "channel", "already", 409},
		{fanout.ErrNotSubscribed, protocol.ErrorNotFound, "channel", "not subscribed", 404},
		{fanout.ErrClosed, protocol.ErrorUnavailable, "", "shutting down", 503},
		{session.ErrFull, protocol.ErrorUnavailable, "", "connections", 503},
		{session.ErrDraining, protocol.ErrorUnavailable, "", "shutting down", 503},
		{auth.ErrMissing, protocol.ErrorUnauthorized, "token", "needed", 401},
		{fmt.Errorf("%w: no entry fits the certificate", auth.ErrMissing), protocol.ErrorUnauthorized, "token", "a token is needed: no entry fits", 401},
		{session.Lacking(auth.Claims{Key: "ci"}, "channel", auth.Publish, fanout.Channel{}), protocol.ErrorForbidden, "channel", "the API key does not allow publish", 403},
		{session.Lacking(auth.Claims{Key: "certificate:ci"}, "channel", auth.History, fanout.Channel{}), protocol.ErrorForbidden, "channel", "the certificate does", 403},
		{session.Lacking(auth.Claims{Subject: "ann"}, "presence", auth.Presence, fanout.Channel{}), protocol.ErrorForbidden, "presence", "the token does", 403},
		{fmt.Errorf("%w: since yesterday", auth.ErrExpired), protocol.ErrorUnauthorized, "token", "since yesterday", 401},
		{context.DeadlineExceeded, protocol.ErrorTimeout, "", "unknown", 408},
		{&fanout.InputError{Field: "last", Problem: "is 0"}, protocol.ErrorBadRequest, "last", "is 0", 400},
		{&protocol.DecodeError{Field: "data", Problem: "is bad"}, protocol.ErrorBadRequest, "data", "is bad", 400},
		{session.Forbidden("Origin", "%q", "x"), protocol.ErrorForbidden, "Origin", `"x"`, 403},
		{errors.New("password is swordfish"), protocol.ErrorInternal, "", "internal error", 500},
	} {
		t.Run(tc.err.Error(), func(t *testing.T) {
			ev := session.ErrorEvent(tc.err)
			if ev.Code != tc.code || ev.Field != tc.field || !strings.Contains(ev.Message, tc.text) || strings.Contains(ev.Message, "swordfish") {
				t.Errorf("got %+v", ev)
			}
			if ev.Temporary != tc.code.Temporary() || ev.Temporary != (ev.RetryAfterMS > 0) {
				t.Errorf("temporary %v, retry after %d ms", ev.Temporary, ev.RetryAfterMS)
			}
			w := httptest.NewRecorder()
			session.WriteHTTPError(w, tc.err)
			if w.Code != tc.status {
				t.Errorf("HTTP status %d, want %d", w.Code, tc.status)
			}
			if ev.Temporary != (w.Header().Get("Retry-After") != "") {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
		})
	}
}

// member is a connection that closes when it is told to.
type member struct {
	swept  chan time.Time
	events chan protocol.DisconnectEvent
	abort  chan struct{}
}

func newMember() *member {
	return &member{make(chan time.Time, 100), make(chan protocol.DisconnectEvent, 10), make(chan struct{}, 10)}
}

func (m *member) Sweep(now time.Time)                    { m.swept <- now }
func (m *member) Disconnect(ev protocol.DisconnectEvent) { m.events <- ev }
func (m *member) Abort()                                 { m.abort <- struct{}{} }

func TestRegistryBeforeStart(t *testing.T) {
	r, err := session.NewRegistry(session.DefaultConfig(), session.Services{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Admit(session.SSE); !errors.Is(err, session.ErrDraining) {
		t.Errorf("admitted before start: %v", err)
	}
	for range 2 {
		if err := r.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	}
	r.Start(t.Context())
	if _, err := r.Admit(session.SSE); !errors.Is(err, session.ErrDraining) {
		t.Errorf("admitted after the drain: %v", err)
	}
}

func TestRegistryServes(t *testing.T) {
	cfg := session.DefaultConfig()
	cfg.MaxConnections, cfg.PingInterval, cfg.DrainWindow = 1, 40*time.Millisecond, time.Millisecond
	r := hubtest.New().Start(t, cfg, hubtest.Tokens{})
	slot, err := r.Admit(session.WebSocket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Admit(session.SSE); !errors.Is(err, session.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	m := newMember()
	serve(t, slot, m, func() { <-m.events })
	<-m.swept
	<-m.swept
	if err := r.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	slot.Release() // once more changes nothing
	if n := r.Len(); n != 0 {
		t.Errorf("%d connections after the drain", n)
	}
}

// TestRegistryAdmitsThenDrains: a drain waits for a connection that was admitted
// before it and joins after it began.
func TestRegistryAdmitsThenDrains(t *testing.T) {
	r := hubtest.New().Start(t, session.DefaultConfig(), hubtest.Tokens{})
	slot, err := r.Admit(session.WebSocket)
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan error, 1)
	go func() { drained <- r.Drain(t.Context()) }()
	eventually(t, func() bool {
		late, err := r.Admit(session.WebSocket)
		if err == nil {
			late.Release()
		}
		return errors.Is(err, session.ErrDraining)
	})
	m := newMember()
	slot.Serve(m, func(context.Context) {
		if ev := <-m.events; ev.Code != protocol.CloseDraining || !ev.Reconnect || ev.RetryAfterMS <= 0 {
			t.Errorf("got %+v", ev)
		}
	})
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestEntersAfterTheDrainGaveUp: a connection that was admitted before a drain, and
// joins after its time was over, is cut like those that it found.
func TestEntersAfterTheDrainGaveUp(t *testing.T) {
	r := hubtest.New().Start(t, session.DefaultConfig(), hubtest.Tokens{})
	slot, err := r.Admit(session.SSE)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	drained := make(chan error, 1)
	go func() { drained <- r.Drain(ctx) }()
	<-r.Context().Done()
	m := newMember()
	slot.Enter(m)
	select {
	case <-m.abort:
	default:
		t.Error("it was not cut, and nobody else does it")
	}
	slot.Leave(m)
	if err := <-drained; err == nil {
		t.Error("a connection that had to be cut is not told")
	}
}

// TestOneClientComesBackAtOnce: the window is for crowds.
func TestOneClientComesBackAtOnce(t *testing.T) {
	r := hubtest.New().Start(t, session.DefaultConfig(), hubtest.Tokens{})
	slot, err := r.Admit(session.WebSocket)
	if err != nil {
		t.Fatal(err)
	}
	m, told := newMember(), make(chan protocol.DisconnectEvent, 1)
	serve(t, slot, m, func() { told <- <-m.events })
	if err := r.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if ev := <-told; ev.RetryAfterMS < 1 || ev.RetryAfterMS > 10 {
		t.Errorf("a client that is alone is to come back after %d ms, want at most 10", ev.RetryAfterMS)
	}
}

func TestRegistryDrainCuts(t *testing.T) {
	r := hubtest.New().Start(t, session.DefaultConfig(), hubtest.Tokens{})
	slot, err := r.Admit(session.WebSocket)
	if err != nil {
		t.Fatal(err)
	}
	m := newMember()
	serve(t, slot, m, func() {
		<-m.abort
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.Drain(ctx); err == nil {
		t.Error("a connection that had to be cut is not told")
	}
	if r.Len() != 0 {
		t.Error("it is still counted")
	}
}

func TestMetricsExistFromTheStart(t *testing.T) {
	reg := prometheus.NewRegistry()
	r, err := session.NewRegistry(session.DefaultConfig(), session.Services{}, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Drain(t.Context()) }()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, fmt.Sprintf("%s %d", f.GetName(), len(f.GetMetric())))
	}
	want := []string{
		"rivulet_session_command_errors_total 15", "rivulet_session_commands_total 12", "rivulet_session_connections 3",
		"rivulet_session_deliveries_deferred_total 1", "rivulet_session_disconnects_total 15",
		"rivulet_session_opened_total 3", "rivulet_session_rejected_total 5",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got  %q\nwant %q", names, want)
	}
	if _, err := session.NewRegistry(session.DefaultConfig(), session.Services{}, slog.New(slog.DiscardHandler), reg); err == nil {
		t.Error("two registries share one metrics registry")
	}
}

// serve is Slot.Serve beside the test, which waits for it.
func serve(t *testing.T, slot *session.Slot, m session.Member, f func()) {
	t.Helper()
	var wg sync.WaitGroup
	// Entered before the test goes on, so that what it does meets the connection.
	slot.Enter(m)
	wg.Go(func() {
		defer slot.Leave(m)
		f()
	})
	t.Cleanup(wg.Wait)
}
