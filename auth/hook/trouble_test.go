package hook_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth/hook"
)

// TestOneCallerDoesNotKeepOthersWaiting: while the questions of one are not answered, and as
// many more of it come as like, others are answered at once.
func TestOneCallerDoesNotKeepOthersWaiting(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "flood") {
			<-r.Context().Done()
		}
		_, _ = io.WriteString(w, `{"allow":true}`)
	})
	h, _ := open(t, s, func(c *hook.Config) { c.Concurrency, c.Timeout, c.Breaker.MinRequests = 4, 5*time.Second, 1000 })
	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for range hook.MaxWaiting + 100 {
		flood.Go(func() { _, _ = h.Ask(ctx, hook.Question{Caller: "user:ann", Body: "flood", Keys: []string{"a"}}) })
	}
	defer flood.Wait()
	defer cancel()
	ask(t, h, func() bool { return s.asked.Load() >= 2 }) // by another
	for range 50 {
		if _, err := h.Ask(t.Context(), hook.Question{Caller: "user:bob", Body: "bob", Keys: []string{"b"}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailuresAreLoggedWithTheirReason: once, at WARN, whatever it is, and without the URL.
func TestFailuresAreLoggedWithTheirReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer http.HandlerFunc
		want   string
	}{
		{status(http.StatusInternalServerError), "it answered 500"},
		{status(http.StatusNotFound), "it answered 404"},
		{status(http.StatusUnauthorized), "it answered 401"},
		{status(http.StatusServiceUnavailable), "it answered 503"},
		{status(http.StatusFound), "it answered 302"},
		{says("<html>"), "invalid character"},
		{says("{}"), `has no \"allow\"`},
		{says(`{"allow":"yes"}`), "cannot unmarshal string"},
		{says(`{"results":[{"allow":true},{"allow":true}]}`), "has 2 results, must have 1"},
		{says(`{"allow":true,"caps":{}}`), `unknown field \"caps\"; the fields are allow, message, claims and results`},
		{says(`{"allow":true,"` + strings.Repeat("x", 60_000) + `":1}`), "xxx; the fields are"},
		{says(`{"allow":true}{"allow":false}`), "something behind the JSON object"},
		{says(`{"allow":false,"results":[{"allow":true}]}`), `\"results\" and, outside of them, \"allow\"`},
		{says(strings.Repeat(" ", 65<<10)), "over 65536 bytes"},
		{hang, "no answer within 200ms (timeout)"},
		{trickle, "no answer within 200ms (timeout)"},
		{reset, "EOF"},
	} {
		s := serve(t, c.answer)
		cfg := hook.Config{Name: "test", URL: s.URL + "/?key=hunter2", Secret: []byte(secret), Timeout: 200 * time.Millisecond}
		var log strings.Builder
		h := hook.New(cfg.WithDefaults(), hook.NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(&log, nil)))
		for range 5 {
			_, _ = h.Ask(t.Context(), question("a"))
		}
		h.Close()
		if got := log.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, c.want) || strings.Contains(got, "hunter2") {
			t.Errorf("logged %q, want %q once", got, c.want)
		}
	}
}
