package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/limit"
)

func takesReports(h *harness) { h.cfg.Telemetry = true }

// TestTelemetry: what a page reports is in the metrics, and what is in none of the labels'
// sets is "other".
func TestTelemetry(t *testing.T) {
	h := newHarness(t, takesReports)
	body := `{"sdk":"0.1.0","transport":"sse","connects":[120.5],"round_trips":[3,4],"deliveries":[7],"reconnects":2,"gaps":1,
		"paints":{"first":300},"errors":[{"kind":"uncaught","name":"TypeError","source":"/app.js:1:2"},{"kind":"made up","name":"x","source":""}],
		"more_errors":5,"later":true}`
	for _, kind := range []string{"text/plain;charset=utf-8", "application/json"} {
		if res := h.do(t, "POST", "/v1/telemetry", body, "Content-Type", kind); res.status != 200 {
			t.Fatalf("%s: %d %s", kind, res.status, res.message)
		}
	}
	const want = `
		# HELP rivulet_client_errors_total What browsers report: errors that nobody caught, and rejections that nobody handled.
		# TYPE rivulet_client_errors_total counter
		rivulet_client_errors_total{kind="other"} 12
		rivulet_client_errors_total{kind="uncaught"} 2
		rivulet_client_errors_total{kind="unhandled"} 0
		# HELP rivulet_client_gaps_total What browsers report: gaps that they were told of.
		# TYPE rivulet_client_gaps_total counter
		rivulet_client_gaps_total 2
		# HELP rivulet_client_reconnects_total What browsers report: connections that came back.
		# TYPE rivulet_client_reconnects_total counter
		rivulet_client_reconnects_total 4
	`
	if err := testutil.GatherAndCompare(h.reg, strings.NewReader(want), "rivulet_client_errors_total", "rivulet_client_gaps_total", "rivulet_client_reconnects_total"); err != nil {
		t.Error(err)
	}
	families, err := h.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if hist := m.GetHistogram(); hist != nil && strings.HasPrefix(f.GetName(), "rivulet_client_") {
				sums[f.GetName()] += hist.GetSampleSum()
			}
		}
	}
	for name, want := range map[string]float64{
		"rivulet_client_connect_seconds": .241, "rivulet_client_round_trip_seconds": .014,
		"rivulet_client_delivery_seconds": .014, "rivulet_client_paint_seconds": .6,
	} {
		if got := sums[name]; got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%s: %v seconds, want %v", name, got, want)
		}
	}
}

// TestTelemetryRefuses: whatever is out of bounds is named, and nothing of it counts.
func TestTelemetryRefuses(t *testing.T) {
	samples := strings.TrimSuffix(strings.Repeat("1,", 65), ",")
	for _, tc := range []struct {
		name, body, field string
		status            int
		change            func(*harness)
		headers           []string
	}{
		{name: "off", body: `{}`, status: 404, change: func(h *harness) { h.cfg.Telemetry = false }},
		{name: "no JSON", body: `<html>`, field: "body", status: 400},
		{name: "a list", body: `[]`, field: "body", status: 400},
		{name: "too many samples", body: `{"round_trips":[` + samples + `]}`, field: "round_trips", status: 400},
		{name: "a negative time", body: `{"gaps":1,"deliveries":[-1]}`, field: "deliveries", status: 400},
		{name: "hours", body: `{"connects":[600001]}`, field: "connects", status: 400},
		{name: "a negative count", body: `{"reconnects":-1}`, field: "reconnects", status: 400},
		{name: "a huge count", body: `{"gaps":10001}`, field: "gaps", status: 400},
		{name: "a paint of yesterday", body: `{"paints":{"first":86400000}}`, field: "paints.first", status: 400},
		{name: "a long name", body: fmt.Sprintf(`{"errors":[{"name":%q}]}`, strings.Repeat("x", 65)), field: "errors[0]", status: 400},
		{name: "too large", body: `{"sdk":"` + strings.Repeat("x", 16<<10) + `"}`, field: "body", status: 413},
		{
			name: "of another page", body: `{"gaps":1}`, field: "Origin", status: 403, headers: []string{"Origin", "https://evil.example"},
			change: func(h *harness) {
				takesReports(h)
				o, err := session.ParseOrigins([]string{"https://app.example"})
				if err != nil {
					t.Fatal(err)
				}
				h.origins = o
			},
		},
		{
			name: "too often", body: `{"gaps":1}`, status: 429,
			change: func(h *harness) {
				takesReports(h)
				h.limits = limitError{&limit.Error{Problem: "too many", RetryAfter: time.Second}}
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			change := takesReports
			if tc.change != nil {
				change = tc.change
			}
			h := newHarness(t, change)
			res := h.do(t, "POST", "/v1/telemetry", tc.body, append([]string{"Content-Type", "text/plain"}, tc.headers...)...)
			if res.status != tc.status || tc.field != "" && res.field != tc.field {
				t.Errorf("%d, field %q: %s", res.status, res.field, res.message)
			}
			if n, err := testutil.GatherAndCount(h.reg, "rivulet_client_gaps_total"); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			const none = "# HELP rivulet_client_gaps_total What browsers report: gaps that they were told of.\n# TYPE rivulet_client_gaps_total counter\nrivulet_client_gaps_total 0\n"
			if err := testutil.GatherAndCompare(h.reg, strings.NewReader(none), "rivulet_client_gaps_total"); err != nil {
				t.Error(err)
			}
		})
	}
}
