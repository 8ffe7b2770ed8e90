package api_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/session"
)

// pages is the API for pages of https://app.example.
func pages(t *testing.T) http.Handler {
	t.Helper()
	origins, err := session.ParseOrigins([]string{"https://app.example"})
	if err != nil {
		t.Fatal(err)
	}
	return newHarness(t, func(h *harness) { h.origins = origins }).handler
}

// TestPreflight: a browser is told what pages of an allowed origin may send, of the paths
// that a client in a page uses, and of no other.
func TestPreflight(t *testing.T) {
	handler := pages(t)
	const app, evil, messages = "https://app.example", "https://evil.example", "/v1/channels/chat:a/messages"
	for _, tc := range []struct {
		name, origin, path, method, headers string
		allowed                             bool
	}{
		{"publish", app, messages, "POST", "authorization,content-type", true},
		{"history", app, messages, "GET", "authorization", true},
		{"presence", app, "/v1/channels/chat:a/presence", "GET", "authorization", true},
		{"an escaped name", app, "/v1/channels/chat%3Aa/presence", "GET", "authorization", true},
		{"poll", app, "/v1/poll?channel=chat:a", "GET", "authorization", true},
		{"events", app, "/v1/events?channel=chat:a", "GET", "authorization,last-event-id", true},
		{"readiness", app, "/readyz", "GET", "", true},
		{"key in a header", app, messages, "POST", "idempotency-key", true},
		{"purge", app, messages, "DELETE", "authorization", false},
		{"delete", app, messages + "/1", "DELETE", "authorization", false},
		{"batch", app, "/v1/messages", "POST", "authorization,content-type", false},
		{"keys", app, "/v1/keys", "POST", "authorization", false},
		{"sessions", app, "/v1/sessions", "GET", "authorization", false},
		{"webhooks", app, "/v1/webhooks", "GET", "authorization", false},
		{"metrics", app, "/metrics", "GET", "authorization", false},
		{"a header that nothing needs", app, messages, "POST", "x-other", false},
		{"another site", evil, messages, "POST", "authorization", false},
		{"another scheme", "http://app.example", messages, "POST", "authorization", false},
		{"no origin", "null", messages, "POST", "authorization", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, tc.path, nil)
			r.Header.Set("Origin", tc.origin)
			r.Header.Set("Access-Control-Request-Method", tc.method)
			if tc.headers != "" {
				r.Header.Set("Access-Control-Request-Headers", tc.headers)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			h := w.Header()
			if !tc.allowed {
				for name := range h {
					if strings.HasPrefix(name, "Access-Control-Allow") {
						t.Errorf("%d with %s: %s", w.Code, name, h.Get(name))
					}
				}
				return
			}
			if w.Code != http.StatusOK || h.Get("Access-Control-Allow-Origin") != tc.origin ||
				h.Get("Access-Control-Allow-Methods") != tc.method || h.Get("Access-Control-Max-Age") == "" {
				t.Errorf("got %d %v", w.Code, h)
			}
			if asked := strings.ToLower(strings.ReplaceAll(h.Get("Access-Control-Allow-Headers"), " ", "")); asked != tc.headers {
				t.Errorf("allows the headers %q, want %q", asked, tc.headers)
			}
			if !slices.Contains(h.Values("Vary"), "Origin") || h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("got %v", h)
			}
		})
	}
}

// TestPagesRead: an answer, a refusal too, may be read by a page of an allowed origin and by no
// other, and by nobody with cookies.
func TestPagesRead(t *testing.T) {
	handler := pages(t)
	for _, tc := range []struct {
		name, origin, method, path string
		status                     int
		readable                   bool
	}{
		{"history", "https://app.example", "GET", "/v1/channels/chat:a/messages", 200, true},
		{"refused", "https://app.example", "GET", "/v1/channels/chat:a/messages?limit=0", 400, true},
		{"too large a name", "https://app.example", "GET", "/v1/channels/chat:" + strings.Repeat("x", 300) + "/presence", 400, true},
		{"readiness", "https://app.example", "GET", "/readyz", 200, true},
		{"another site", "https://evil.example", "GET", "/v1/channels/chat:a/messages", 200, false},
		{"the node's own page", "http://example.com", "GET", "/v1/channels/chat:a/messages", 200, false},
		{"purge", "https://app.example", "DELETE", "/v1/channels/chat:a/messages", 200, false},
		{"all channels", "https://app.example", "GET", "/v1/channels", 200, false},
		{"no page", "", "GET", "/v1/channels/chat:a/messages", 200, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, nil)
			if tc.origin != "" {
				r.Header.Set("Origin", tc.origin)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			h := w.Header()
			if w.Code != tc.status {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			want := ""
			if tc.readable {
				want = tc.origin
			}
			if got := h.Get("Access-Control-Allow-Origin"); got != want || h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("may be read by %q, want %q: %v", got, want, h)
			}
			if exposed := h.Get("Access-Control-Expose-Headers"); tc.readable && !strings.Contains(exposed, "Retry-After") {
				t.Errorf("exposes %q", exposed)
			}
		})
	}
}
