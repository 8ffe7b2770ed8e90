package session_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rivulet-rt/rivulet/session"
)

// TestARefusedPageIsLogged: with its origin, cut, and what to set, once a minute; each counts.
func TestARefusedPageIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		cfg, reg := session.DefaultConfig(), prometheus.NewRegistry()
		cfg.Origins = []string{"https://app.example"}
		r, err := session.NewRegistry(cfg, session.Services{}, slog.New(slog.NewJSONHandler(&log, nil)), reg)
		if err != nil {
			t.Fatal(err)
		}
		come := func(origin string) {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://node.example/v1/ws", nil)
			req.Header.Set("Origin", origin)
			if _, err := r.AllowPage(req); err != nil {
				r.Rejected(err)
			}
		}
		for range 3 {
			come("https://app.example")
			come("http://localhost:5173\r\n" + strings.Repeat("x", 1000))
		}
		time.Sleep(59 * time.Second) //nolint:forbidigo // the bubble's clock
		come("https://late.example")
		got := log.String()
		if strings.Count(got, "\n") != 1 || len(got) > 500 || !strings.Contains(got, `"WARN"`) || !strings.Contains(got, "session.origins") ||
			!strings.Contains(got, `"origin":"http://localhost:5173\r\nxxx`) || !strings.Contains(got, `"host":"node.example"`) {
			t.Errorf("logged %s", got)
		}
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		come("https://again.example")
		if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "again.example") {
			t.Errorf("a minute later: %s", got)
		}
		const rejected = `
# HELP rivulet_session_rejected_total Connections not admitted: full, draining, over a limit, of a page that may not, or a handshake in error.
# TYPE rivulet_session_rejected_total counter
rivulet_session_rejected_total{reason="draining"} 0
rivulet_session_rejected_total{reason="full"} 0
rivulet_session_rejected_total{reason="handshake"} 0
rivulet_session_rejected_total{reason="limit"} 0
rivulet_session_rejected_total{reason="origin"} 5
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(rejected), "rivulet_session_rejected_total"); err != nil {
			t.Error(err)
		}
	})
}
