package hook_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/auth/signature"
)

const secret = "0123456789abcdef"

// service answers by whatever handler is set at the time.
type service struct {
	*httptest.Server
	handler atomic.Pointer[http.HandlerFunc]
	asked   atomic.Int64
}

func serve(t *testing.T, f http.HandlerFunc) *service {
	t.Helper()
	s := &service{}
	s.handler.Store(&f)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.handler.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) set(f http.HandlerFunc) { s.handler.Store(&f) }

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the caller has gone
	<-r.Context().Done()
}

func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func trickle(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func open(t *testing.T, s *service, change func(*hook.Config)) (*hook.Hook, *prometheus.Registry) {
	t.Helper()
	cfg := hook.Config{Name: "test", URL: s.URL, Secret: []byte(secret), Timeout: 200 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	cfg = cfg.WithDefaults()
	if errs := cfg.Validate(); errs != nil {
		t.Fatal(errs)
	}
	reg := prometheus.NewRegistry()
	h := hook.New(cfg, hook.NewMetrics(reg), slog.New(slog.DiscardHandler))
	t.Cleanup(h.Close)
	return h, reg
}

func question(keys ...string) hook.Question {
	return hook.Question{Body: map[string]string{"type": "test"}, Keys: keys}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	elsewhere := serve(t, says(`{"allow":true}`))
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		denied  string // "" allowed, unless failed
		failed  bool
	}{
		"allowed":     {handler: says(`{"allow":true}`)},
		"unknown":     {handler: says(`{"allow":true,"caps":{}}`), failed: true},
		"in results":  {handler: says(`{"results":[{"allow":true,"caps":{}}]}`), failed: true},
		"two answers": {handler: says(`{"allow":true}{"allow":false}`), failed: true},
		"claims and":  {handler: says(`{"claims":{"caps":{}},"results":[{"allow":true}]}`), failed: true},
		"allow and":   {handler: says(`{"allow":false,"results":[{"allow":true}]}`), failed: true},
		"denied":      {handler: says(`{"allow":false,"message":"not\r\nyou"}`), denied: "notyou"},
		"long denial": {handler: says(`{"allow":false,"message":"` + strings.Repeat("x", 999) + `"}`), denied: strings.Repeat("x", 256)},
		"results":     {handler: says(`{"results":[{"allow":false}]}`), denied: "denied"},
		"too many":    {handler: says(`{"results":[{"allow":true},{"allow":true}]}`), failed: true},
		"none":        {handler: says(`{"allow":true,"results":[]}`), failed: true},
		"no allow":    {handler: says(`{}`), failed: true},
		"garbage":     {handler: says("<html>"), failed: true},
		"empty":       {handler: says(""), failed: true},
		"oversized":   {handler: says(`{"allow":true}` + strings.Repeat(" ", 64<<10)), failed: true},
		"error":       {handler: status(http.StatusInternalServerError), failed: true},
		"forbidden":   {handler: status(http.StatusForbidden), denied: "refused"},
		"not there":   {handler: status(http.StatusNotFound), failed: true},
		"redirect": {handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, failed: true},
		"hang":    {handler: hang, failed: true},
		"reset":   {handler: reset, failed: true},
		"trickle": {handler: trickle, failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := open(t, serve(t, c.handler), nil)
			begun := time.Now()
			got, err := h.Ask(t.Context(), question("a"))
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			switch {
			case c.failed:
				if !errors.Is(err, hook.ErrUnavailable) {
					t.Errorf("%v, %v", got, err)
				}
			case err != nil:
				t.Error(err)
			case c.denied == "" && got[0].Denied != nil, c.denied != "" && (got[0].Denied == nil || got[0].Denied.Message != c.denied):
				t.Errorf("%+v", got[0].Denied)
			}
		})
	}
	t.Cleanup(func() {
		if elsewhere.asked.Load() > 0 {
			t.Error("a redirect was followed")
		}
	})
}

func TestRequestsAreSigned(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := signature.Verify([]byte(secret), body, r.Header.Get(signature.Header), time.Now(), signature.Tolerance); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, `{"allow":true}`)
	})
	h, _ := open(t, s, nil)
	if _, err := h.Ask(t.Context(), question("a")); err != nil {
		t.Error(err)
	}
}

func TestRetriesWhatMayPass(t *testing.T) {
	t.Parallel()
	for _, first := range []http.HandlerFunc{reset, status(http.StatusBadGateway)} {
		s := serve(t, nil)
		s.set(func(w http.ResponseWriter, r *http.Request) {
			s.set(says(`{"allow":true}`))
			first(w, r)
		})
		h, _ := open(t, s, func(c *hook.Config) { c.Retries, c.Timeout = 1, 5*time.Second })
		if _, err := h.Ask(t.Context(), question("a")); err != nil || s.asked.Load() != 2 {
			t.Errorf("%v after %d requests", err, s.asked.Load())
		}
	}
}

// breaker opens after four failures, and for 300 ms.
func breaker(c *hook.Config) {
	c.Breaker = hook.Breaker{Window: time.Minute, MinRequests: 4, FailureRatio: 0.5, OpenFor: 300 * time.Millisecond, HalfOpen: 2}
}

func state(t *testing.T, reg *prometheus.Registry, want string) {
	t.Helper()
	text := "# HELP rivulet_hook_breaker_state 0 closed, 1 half-open, 2 open.\n# TYPE rivulet_hook_breaker_state gauge\n" +
		`rivulet_hook_breaker_state{hook="test"} ` + want + "\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(text), "rivulet_hook_breaker_state"); err != nil {
		t.Error(err)
	}
}

func TestBreakerOpensHalfOpensAndCloses(t *testing.T) {
	t.Parallel()
	s := serve(t, status(http.StatusInternalServerError))
	h, reg := open(t, s, breaker)
	for range 4 {
		state(t, reg, "0")
		_, _ = h.Ask(t.Context(), question("a"))
	}
	state(t, reg, "2")
	for range 10 {
		if _, err := h.Ask(t.Context(), question("a")); !errors.Is(err, hook.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := s.asked.Load(); n != 4 {
		t.Fatalf("asked %d times, want 4: an open breaker asks nobody", n)
	}
	// The first probe fails, and opens it again.
	ask(t, h, func() bool { return s.asked.Load() == 5 })
	state(t, reg, "2")
	s.set(says(`{"allow":true}`))
	ask(t, h, func() bool { return s.asked.Load() == 7 }) // two that succeed
	state(t, reg, "0")
}

// ask asks until something has come true.
func ask(t *testing.T, h *hook.Hook, until func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !until(); time.Sleep(time.Millisecond) { //nolint:forbidigo // between two questions
		if time.Now().After(end) {
			t.Fatal("it did not come")
		}
		_, _ = h.Ask(t.Context(), question("a"))
	}
}

func TestDenialsDoNotOpen(t *testing.T) {
	t.Parallel()
	h, reg := open(t, serve(t, says(`{"allow":false}`)), breaker)
	for range 20 {
		if v, err := h.Ask(t.Context(), question("a")); err != nil || v[0].Denied == nil {
			t.Fatal(v, err)
		}
	}
	state(t, reg, "0")
}

// TestRefusalsDoNotOpen: a status that what is asked can bring about is no failure of the
// service, and others go on being answered; one that tells of load or trouble is.
func TestRefusalsDoNotOpen(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]string{
		400: "0", 401: "0", 403: "0", 404: "0", 405: "0", 413: "0", 415: "0", 422: "0", 451: "0",
		408: "2", 425: "2", 429: "2", 500: "2", 503: "2", 302: "2",
	} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "bad") {
				w.WriteHeader(code)
				return
			}
			_, _ = io.WriteString(w, `{"allow":true}`)
		})
		h, reg := open(t, s, func(c *hook.Config) { breaker(c); c.Breaker.OpenFor = time.Minute })
		bad := hook.Question{Body: "bad", Keys: []string{"mallory"}}
		for range 10 {
			v, err := h.Ask(t.Context(), bad)
			switch code {
			case 400, 403, 413, 415, 422, 451:
				if err != nil || v[0].Denied == nil {
					t.Errorf("%d: got %v, %v, want a denial", code, v, err)
				}
			default:
				if !errors.Is(err, hook.ErrUnavailable) {
					t.Errorf("%d: got %v, %v, want no answer", code, v, err)
				}
			}
		}
		state(t, reg, want)
		if _, err := h.Ask(t.Context(), question("ann")); (err == nil) != (want == "0") {
			t.Errorf("after ten of %d, to somebody else: %v", code, err)
		}
	}
}

// TestRefusedTogether: of several items a refusal says nothing of each.
func TestRefusedTogether(t *testing.T) {
	t.Parallel()
	h, reg := open(t, serve(t, status(http.StatusRequestEntityTooLarge)), breaker)
	for range 10 {
		if _, err := h.Ask(t.Context(), question("a", "b")); !errors.Is(err, hook.ErrTogether) {
			t.Fatal(err)
		}
	}
	state(t, reg, "0")
}

// TestWhoHasNoTimeLeftDoesNotOpen: the end of the caller's own time is no failure, and who
// has none left brings no request.
func TestWhoHasNoTimeLeftDoesNotOpen(t *testing.T) {
	t.Parallel()
	s := serve(t, hang)
	h, reg := open(t, s, func(c *hook.Config) { breaker(c); c.Timeout = 5 * time.Second })
	late := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	for range 10 {
		if _, err := h.Ask(late(), question("a")); !errors.Is(err, hook.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	state(t, reg, "0")
	over := late()
	<-over.Done()
	before := s.asked.Load()
	for range 10 {
		if _, err := h.Ask(over, question("a")); !errors.Is(err, hook.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := s.asked.Load(); n != before {
		t.Errorf("%d requests of callers without any time", n-before)
	}
}

func TestCachedAnswersWhileOpen(t *testing.T) {
	t.Parallel()
	s := serve(t, says(`{"results":[{"allow":true},{"allow":false,"message":"no"}]}`))
	h, reg := open(t, s, func(c *hook.Config) {
		breaker(c)
		c.WhenOpen, c.Breaker.OpenFor = hook.Cached, time.Minute
	})
	first, err := h.Ask(t.Context(), question("yes", "no"))
	if err != nil || first[0].At.IsZero() {
		t.Fatal(first, err)
	}
	s.set(reset)
	for range 6 {
		_, _ = h.Ask(t.Context(), question("other"))
	}
	state(t, reg, "2")
	if v, err := h.Ask(t.Context(), question("no")); err != nil || v[0].Denied == nil {
		t.Errorf("a denial: %v, %v", v, err)
	}
	if v, err := h.Ask(t.Context(), question("yes")); err != nil || v[0].Denied != nil || !v[0].At.Equal(first[0].At) {
		t.Errorf("a permission: %v, %v", v, err)
	}
	if _, err := h.Ask(t.Context(), question("yes", "never")); !errors.Is(err, hook.ErrUnavailable) {
		t.Errorf("one was never asked: %v", err)
	}
}

func TestPlacesAreBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, hang)
	h, _ := open(t, s, func(c *hook.Config) { c.Concurrency, c.Timeout, c.Breaker.MinRequests = 2, time.Second, 1000 })
	const callers = 12
	done := make(chan error, callers)
	for range callers {
		go func() { _, err := h.Ask(t.Context(), question("a")); done <- err }()
	}
	for range callers {
		select {
		case err := <-done:
			if !errors.Is(err, hook.ErrUnavailable) {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("somebody waits without end")
		}
	}
	if n := s.asked.Load(); n > 4 {
		t.Errorf("%d requests were made of 2 places in twice the timeout", n)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]hook.Config{
		"url: is not set":     {Secret: []byte(secret)},
		"must be https":       {Secret: []byte(secret), URL: "http://example.com/"},
		"secret: is not set":  {URL: "https://example.com/"},
		"timeout: is 1h0m0s":  {Secret: []byte(secret), URL: "https://example.com/", Timeout: time.Hour},
		`when_open: is "open`: {Secret: []byte(secret), URL: "https://example.com/", WhenOpen: "open"},
	} {
		if errs := c.WithDefaults().Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, want %q", errs, want)
		}
	}
}
