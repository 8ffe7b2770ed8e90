package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

func (h *harness) raw(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w
}

func TestErrorTable(t *testing.T) {
	until := time.UnixMilli(1_732_290_120_000)
	cause := errors.New("secret detail")
	for _, tc := range []struct {
		name            string
		err             error
		status          int
		field, retry    string
		retryUntil      any
		says            string
		history         int // status of a history that fails so
		outcomeInMetric string
	}{
		{"unknown namespace", fanout.ErrUnknownNamespace, 404, "channel", "", nil, "not configured", 404, "refused"},
		{"no room for a namespace", &fanout.RoomError{Problem: "raise --disk-budget"}, 404, "channel", "", nil, "raise --disk-budget", 404, "refused"},
		{"unavailable", fanout.ErrUnavailable, 503, "", "2", nil, "nothing was stored", 503, "unavailable"},
		{"busy", fanout.ErrTooBusy, 503, "", "1", nil, "nothing was stored", 503, "unavailable"},
		{"disk full", fanout.ErrDiskFull, 503, "", "30", nil, "disk", 503, "unavailable"},
		{"closed", fanout.ErrClosed, 503, "", "1", nil, "stopping", 503, "unavailable"},
		{"too large", fanout.ErrTooLarge, 413, "data", "", nil, "size limit", 0, "refused"},
		{"too large by so much", fmt.Errorf("publish: %w", &fanout.SizeError{Problem: "has 9 bytes"}), 413, "data", "", nil, "data: has 9 bytes", 0, "refused"},
		{"key conflict", fanout.ErrKeyConflict, 409, "idempotency_key", "", nil, "other content", 0, "refused"},
		{"unknown, with key", &fanout.OutcomeUnknownError{RetryUntil: until, Cause: cause}, 504, "", "1", 1732290120000.0, "retry with the same idempotency key", 0, "unknown"},
		{"unknown, without key", &fanout.OutcomeUnknownError{Cause: cause}, 504, "", "", nil, "may store it twice", 0, "unknown"},
		{"unknown, bare", fanout.ErrOutcomeUnknown, 504, "", "", nil, "may or may not be stored", 0, "unknown"},
		{"unknown, because of ErrUnavailable", &fanout.OutcomeUnknownError{RetryUntil: until, Cause: fanout.ErrUnavailable}, 504, "", "1", 1732290120000.0, "may or may not", 0, "unknown"},
		{"out of time", context.DeadlineExceeded, 504, "", "", nil, "may or may not be stored", 504, "unknown"},
		{"given up", context.Canceled, 504, "", "", nil, "may or may not be stored", 504, "unknown"},
		{"busy until time was up", fmt.Errorf("%w: %w", fanout.ErrTooBusy, context.DeadlineExceeded), 503, "", "1", nil, "nothing was stored", 503, "unavailable"},
		{"away until time was up", fmt.Errorf("%w: %w", fanout.ErrUnavailable, context.DeadlineExceeded), 503, "", "2", nil, "nothing was stored", 503, "unavailable"},
		{"input", &fanout.InputError{Field: "channel", Problem: "is odd"}, 400, "channel", "", nil, "channel: is odd", 400, "refused"},
		{"anything else", cause, 500, "", "", nil, "internal error", 500, "failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t, func(h *harness) { h.log.err = fmt.Errorf("publish: %w", tc.err) })
			res := h.do(t, "POST", lobby, `{"data":1}`)
			if res.status != tc.status || res.field != tc.field || res.header.Get("Retry-After") != tc.retry ||
				res.data["retry_until"] != tc.retryUntil || !strings.Contains(res.message, tc.says) {
				t.Errorf("%d, Retry-After %q: %s", res.status, res.header.Get("Retry-After"), res.body)
			}
			if (tc.retry != "") != (res.data["retry_after_ms"] != nil) {
				t.Errorf("Retry-After %q and %v ms", tc.retry, res.data["retry_after_ms"])
			}
			if strings.Contains(string(res.body), "secret detail") || strings.Contains(string(res.body), "fanout:") {
				t.Errorf("inner text is shown: %s", res.body)
			}
			if logged := strings.Contains(h.logged.String(), "secret detail"); logged != (tc.status == 500) {
				t.Errorf("logged: %v\n%s", logged, &h.logged)
			}
			if n := metric(t, h, `rivulet_api_messages_total{outcome="`+tc.outcomeInMetric+`"}`); n != "1" {
				t.Errorf("%s messages counted as %s", n, tc.outcomeInMetric)
			}
			if tc.history != 0 {
				if res := h.do(t, "GET", lobby, ""); res.status != tc.history {
					t.Errorf("history: %d %s", res.status, res.body)
				}
			}
			if tc.history == 0 && tc.status != 504 {
				return // a purge has neither data nor key
			}
			if res := h.do(t, "DELETE", lobby, ""); res.status != tc.status || tc.status == 504 && !strings.Contains(res.message, "purge it again") {
				t.Errorf("purge: %d %s", res.status, res.body)
			}
		})
	}
}

// metric returns the value of a sample of /metrics.
func metric(tb testing.TB, h *harness, sample string) string {
	tb.Helper()
	for line := range strings.Lines(string(h.do(tb, "GET", "/metrics", "").body)) {
		if value, ok := strings.CutPrefix(line, sample+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	tb.Fatalf("no sample %s", sample)
	return ""
}

func TestHealth(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if res := h.do(t, "GET", path, ""); res.status != 200 || res.data != nil {
			t.Errorf("%s: %d %s", path, res.status, res.body)
		}
		if w := h.raw(h.request("HEAD", path, "")); w.Code != 200 {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
	}
	h.log.refused = "namespaces that are not there yet"
	if res := h.do(t, "GET", "/readyz", ""); res.status != 200 || res.message != "publishes are accepted, but not to namespaces that are not there yet" {
		t.Errorf("some are refused: %d %s", res.status, res.body)
	}
	h.log.err = errors.New("no leader at 10.0.0.7")
	if res := h.do(t, "GET", "/readyz", ""); res.status != 503 || strings.Contains(string(res.body), "10.0.0.7") {
		t.Errorf("not ready: %d %s", res.status, res.body)
	}
	if res := h.do(t, "GET", "/healthz", ""); res.status != 200 {
		t.Errorf("alive and not ready: %d", res.status)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	h := newHarness(t)
	for _, tc := range []struct {
		method, target string
		status         int
		allow          string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/v1", 404, ""},
		{"POST", "/v2/messages", 404, ""},
		{"GET", "/healthz/", 404, ""},
		{"GET", "/v1/channels/chat:a/b/messages", 404, ""},
		{"BREW", "/nowhere", 404, ""},
		{"PUT", lobby, 405, "DELETE, GET, HEAD, POST"},
		{"BREW", lobby, 405, "DELETE, GET, HEAD, POST"},
		{"GET", "/v1/messages", 405, "POST"},
		{"POST", "/healthz", 405, "GET, HEAD"},
		{"POST", "/v1/ws", 405, "GET, HEAD"},
		{"DELETE", "/v1/channels/chat:a%2Fb%25/messages/", 404, ""},
	} {
		res := h.do(t, tc.method, tc.target, "")
		if res.status != tc.status || res.header.Get("Allow") != tc.allow || res.code != tc.status {
			t.Errorf("%s %s: %d, Allow %q: %s", tc.method, tc.target, res.status, res.header.Get("Allow"), res.body)
		}
	}
}

// Who forgets a part of the path is told which.
func TestWrongMethodNamesThePath(t *testing.T) {
	h := newHarness(t)
	for target, want := range map[string]string{
		"/v1/channels/chat:a": "the method is not one of GET, HEAD; POST is for /v1/channels/chat:a/messages",
		"/healthz":            "the method is not one of GET, HEAD",
	} {
		if res := h.do(t, "POST", target, ""); res.status != 405 || res.message != want {
			t.Errorf("%s: %s", target, res.body)
		}
	}
}

func TestErrorsAreReadable(t *testing.T) {
	h := newHarness(t)
	res := h.do(t, "POST", "/v1/channels/chat:%3E/messages", `{"data":1}`)
	if res.status != 400 || !strings.Contains(string(res.body), "* and > are for patterns") {
		t.Errorf("%d %s", res.status, res.body)
	}
}

func TestEmptyChannelIsRefused(t *testing.T) {
	h := newHarness(t)
	if res := h.do(t, "POST", "/v1/channels//messages", `{"data":1}`); res.status != 400 && res.status != 404 || len(h.log.stored) != 0 {
		t.Errorf("%d %s", res.status, res.body)
	}
}

func TestCommonHeaders(t *testing.T) {
	h := newHarness(t)
	for _, tc := range []struct {
		sent string
		kept bool
	}{
		{"", false}, {"abc-123", true}, {strings.Repeat("a", 65), false}, {"a b", false}, {"a\"b", false},
	} {
		res := h.do(t, "GET", "/healthz", "", "X-Request-Id", tc.sent)
		id := res.header.Get("X-Request-Id")
		if (id == tc.sent) != tc.kept || len(id) < 7 || len(id) > 64 {
			t.Errorf("sent %q, got %q", tc.sent, id)
		}
		if !strings.Contains(h.logged.String(), "request.id="+id) {
			t.Errorf("%q is not in the log", id)
		}
	}
	res := h.do(t, "GET", lobby, "")
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if got := res.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestOtherHandlersGetTheirPaths(t *testing.T) {
	h := newHarness(t)
	server := httptest.NewServer(h.handler)
	defer server.Close()
	for path, want := range map[string]string{"/v1/ws": "websocket can hijack", "/v1/events?channel=a": "events can hijack"} {
		status, _, body := get(t, server, path)
		if status != 200 || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
}

func get(tb testing.TB, server *httptest.Server, path string) (int, http.Header, string) {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}

func TestPanicIsAnswered(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.log.before = func(context.Context) { panic("secret detail") } })
	res := h.do(t, "POST", lobby, `{"data":1}`)
	if res.status != 500 || strings.Contains(string(res.body), "secret") {
		t.Errorf("%d %s", res.status, res.body)
	}
	if logged := h.logged.String(); !strings.Contains(logged, "secret detail") || !strings.Contains(logged, "server_test.go") {
		t.Errorf("the log lacks the reason or the stack:\n%s", logged)
	}
	if n := metric(t, h, `rivulet_api_body_bytes`); n != "0" {
		t.Errorf("%s bytes are still reserved", n)
	}
	h.log.before = nil
	if res := h.do(t, "POST", lobby, `{"data":1}`); res.status != 201 {
		t.Errorf("afterwards: %d", res.status)
	}
}

func TestBodyBudget(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := newHarness(t, func(h *harness) {
		h.cfg.MaxBody, h.cfg.MaxBatchBody, h.cfg.BodyBudget = 1024, 1024, 1500
		h.log.before = func(context.Context) { entered <- struct{}{}; <-leave }
	})
	body := `{"data":"` + strings.Repeat("x", 900) + `"}`
	first := make(chan int)
	go func() { first <- h.raw(h.request("POST", lobby, body)).Code }()
	<-entered
	if res := h.do(t, "POST", lobby, body); res.status != 503 || res.header.Get("Retry-After") != "1" || !strings.Contains(res.message, "nothing was stored") {
		t.Errorf("over the budget: %d %s", res.status, res.body)
	}
	close(leave)
	if code := <-first; code != 201 {
		t.Errorf("within the budget: %d", code)
	}
	h.log.before = nil
	if res := h.do(t, "POST", lobby, body); res.status != 201 {
		t.Errorf("afterwards: %d %s", res.status, res.body)
	}
}

func TestChunkedBody(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.cfg.MaxBody = 2048 })
	server := httptest.NewServer(h.handler)
	defer server.Close()
	for _, tc := range []struct{ size, status int }{{1000, 201}, {2037, 201}, {2038, 413}, {1 << 20, 413}} {
		body := `{"data":"` + strings.Repeat("x", tc.size) + `"}`
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+lobby, io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tc.status {
			t.Errorf("%d bytes: %d", len(body), res.StatusCode)
		}
	}
	for _, p := range h.log.stored { // no buffer was shared between them
		if data := string(p.Data); strings.Trim(data, `x"`) != "" {
			t.Errorf("stored %.40q", data)
		}
	}
}

// TestChunkedBodyAndBudget: a body of unknown length takes of the budget only what
// it has, and is refused where it outgrows it.
func TestChunkedBodyAndBudget(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		h.cfg.MaxBody, h.cfg.MaxBatchBody, h.cfg.BodyBudget = 1<<20, 1<<20, 1<<20
	})
	from := 0
	send := func(size int) *httptest.ResponseRecorder {
		r := h.request("POST", lobby, `{"data":"`+strings.Repeat("x", size)+`"}`)
		r.ContentLength = -1
		from++
		r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", from) // each is another caller
		return h.raw(r)
	}
	for _, tc := range []struct{ size, status int }{{100, 201}, {16 << 10, 201}, {500_000, 201}, {1 << 20, 413}} {
		if w := send(tc.size); w.Code != tc.status {
			t.Errorf("%d bytes: %d %s", tc.size, w.Code, w.Body)
		}
	}
	h.log.before = func(context.Context) { // another, while the first holds 32 KiB
		h.log.before = nil
		if w := send(1<<20 - 100); w.Code != http.StatusServiceUnavailable {
			t.Errorf("beyond the budget: %d", w.Code)
		}
		if w := send(400_000); w.Code != http.StatusCreated {
			t.Errorf("within the budget: %d", w.Code)
		}
	}
	if w := send(20_000); w.Code != http.StatusCreated {
		t.Errorf("the first: %d", w.Code)
	}
	if n := metric(t, h, "rivulet_api_body_bytes"); n != "0" {
		t.Errorf("%s bytes are still reserved", n)
	}
}

// TestKeptBuffersAreNotShared publishes different bodies at once and looks whether
// any has got another's bytes.
func TestKeptBuffersAreNotShared(t *testing.T) {
	h := newHarness(t)
	done := make(chan string)
	const senders, each = 8, 50
	for s := range senders {
		go func() {
			for i := range each {
				text := strings.Repeat(string(rune('a'+s)), 10+i*7)
				w := h.raw(h.request("POST", lobby, `{"data":"`+text+`","idempotency_key":"`+text+`","headers":{"h":"`+text+`"}}`))
				if i < 16 && w.Code != 201 { // later keys are too long
					done <- w.Body.String()
					return
				}
			}
			done <- ""
		}()
	}
	for range senders {
		if failed := <-done; failed != "" {
			t.Error(failed)
		}
	}
	seen := map[string]bool{}
	for _, p := range h.log.stored {
		text := strings.Trim(string(p.Data), `"`)
		if p.Key != text || p.Headers["h"] != text || strings.Trim(text, text[:1]) != "" || seen[text] {
			t.Errorf("mixed up: %+v", p)
		}
		seen[text] = true
	}
	if len(seen) < senders*16 {
		t.Errorf("%d messages stored", len(seen))
	}
}

func TestSlowBody(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.cfg.BodyTimeout = 50 * time.Millisecond })
	server := httptest.NewServer(h.handler)
	defer server.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST "+lobby+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout || len(h.log.stored) != 0 {
		t.Errorf("status %d", res.StatusCode)
	}
}

// TestBodyTimeoutDoesNotEndTheWork: once the body is there its deadline is over.
func TestBodyTimeoutDoesNotEndTheWork(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		h.cfg.BodyTimeout = 30 * time.Millisecond
		h.log.before = func(ctx context.Context) {
			select {
			case <-ctx.Done():
			case <-time.After(150 * time.Millisecond):
			}
			if ctx.Err() != nil {
				t.Error("the publish was cancelled")
			}
		}
	})
	server := httptest.NewServer(h.handler)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+lobby, strings.NewReader(`{"data":1}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestWorkIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(h *harness) {
			h.log.before = func(ctx context.Context) { <-ctx.Done() }
			h.log.err = context.DeadlineExceeded
		})
		start := time.Now()
		res := h.do(t, "POST", lobby, `{"data":1}`)
		if took := time.Since(start); res.status != 504 || took != h.cfg.Timeout {
			t.Errorf("%d after %v", res.status, took)
		}
	})
}

// TestCallerGone: a response that nobody reads ends without an error of ours.
func TestCallerGone(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		for range 1000 {
			h.log.page.Messages = append(h.log.page.Messages, &fanout.Message{
				Channel: mustChannel(t, "chat:lobby"), Position: positionAt(1), Data: []byte(`"` + strings.Repeat("x", 4096) + `"`),
			})
		}
	})
	w := &brokenWriter{ResponseRecorder: httptest.NewRecorder()}
	h.handler.ServeHTTP(w, h.request("GET", lobby, ""))
	if w.writes != 1 {
		t.Errorf("%d writes to somebody who is gone", w.writes)
	}
}

type brokenWriter struct {
	*httptest.ResponseRecorder
	writes int
}

func (w *brokenWriter) Write([]byte) (int, error) {
	w.writes++
	return 0, net.ErrClosed
}

func TestMetrics(t *testing.T) {
	h := newHarness(t)
	h.do(t, "POST", lobby, `{"data":1,"idempotency_key":"k"}`)
	h.do(t, "POST", lobby, `{"data":1,"idempotency_key":"k"}`)
	h.do(t, "POST", lobby, `{}`)
	h.do(t, "GET", "/nowhere", "")
	h.do(t, "POST", "/v1/messages", `{"messages":[{"channel":"a","data":1},{"channel":"..","data":1}]}`)
	for sample, want := range map[string]string{
		`rivulet_api_messages_total{outcome="stored"}`:               "2",
		`rivulet_api_messages_total{outcome="duplicate"}`:            "1",
		`rivulet_api_messages_total{outcome="refused"}`:              "2",
		`rivulet_api_messages_total{outcome="unknown"}`:              "0",
		`rivulet_api_requests_total{class="2xx",route="publish"}`:    "2",
		`rivulet_api_requests_total{class="4xx",route="publish"}`:    "1",
		`rivulet_api_requests_total{class="4xx",route="none"}`:       "1",
		`rivulet_api_requests_total{class="5xx",route="history"}`:    "0",
		`rivulet_api_request_seconds_count{route="publish"}`:         "3",
		`rivulet_api_request_seconds_count{route="publish_batch"}`:   "1",
		`rivulet_api_body_bytes`:                                     "0",
		`rivulet_api_requests_total{class="none",route="publish"}`:   "0",
		`rivulet_api_requests_total{class="4xx",route="healthz"}`:    "0",
		`rivulet_api_messages_total{outcome="unavailable"}`:          "0",
		`rivulet_api_messages_total{outcome="failed"}`:               "0",
		`rivulet_api_requests_total{class="2xx",route="openapi"}`:    "0",
		`rivulet_api_requests_total{class="4xx",route="purge"}`:      "0",
		`rivulet_api_requests_total{class="5xx",route="readyz"}`:     "0",
		`rivulet_api_requests_total{class="3xx",route="history"}`:    "0",
		`rivulet_api_request_seconds_bucket{route="purge",le="0.1"}`: "0",
	} {
		if got := metric(t, h, sample); got != want {
			t.Errorf("%s is %s, want %s", sample, got, want)
		}
	}
	families, err := h.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := api.DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*api.Config)
		says   string
	}{
		{"body", func(c *api.Config) { c.MaxBody = 0 }, "api.max_body: 0"},
		{"batch below body", func(c *api.Config) { c.MaxBatchBody = c.MaxBody - 1 }, "api.max_batch_body: 8388607 must be at least 8388608"},
		{"budget below batch", func(c *api.Config) { c.BodyBudget = 1 }, "api.body_budget: 1"},
		{"body timeout", func(c *api.Config) { c.BodyTimeout = 0 }, "api.body_timeout: 0s"},
		{"timeout", func(c *api.Config) { c.Timeout = 2 * time.Hour }, "api.timeout: 2h0m0s must be from 1ms to 1h"},
		{"write timeout", func(c *api.Config) { c.WriteTimeout = -1 }, "api.write_timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := api.DefaultConfig()
			tc.change(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want one with %q", err, tc.says)
			}
		})
	}
}

// failingAuth fails in a way that is nobody's fault but ours.
type failingAuth struct{}

func (failingAuth) Authenticate(context.Context, string) (auth.Claims, error) {
	return auth.Claims{}, errors.New("key server at 10.0.0.8 is down")
}

func TestAuthenticatorFails(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.auth = failingAuth{} })
	res := h.do(t, "POST", lobby, `{"data":1}`)
	if res.status != 500 || bytes.Contains(res.body, []byte("10.0.0.8")) || len(h.log.stored) != 0 {
		t.Errorf("%d %s", res.status, res.body)
	}
}
