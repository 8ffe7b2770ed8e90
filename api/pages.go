package api

import (
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/cors"
)

// Origins decides which web pages may use the API from another host.
type Origins interface {
	// Allow reports whether the request's page may, and whether it is of another host, so
	// that the answer must say so.
	Allow(r *http.Request) (allowed, cross bool)
}

// preflightSeconds is how long a browser need not ask again about one URL; none asks
// less often than that.
const preflightSeconds = 7200

// forPages are the paths that pages of other origins may use: what a client in a browser
// needs. What operates a node, and what deletes, is not among them.
func forPages() []string {
	return []string{
		"/v1/channels/{channel}/messages", "/v1/channels/{channel}/presence",
		"/v1/events", "/v1/poll", "/v1/telemetry", "/readyz", "/healthz",
	}
}

// acrossOrigins lets pages of the allowed origins use handler, if pattern is for them.
// Never with credentials, which are cookies and client certificates: who calls is told by
// the token alone, so that no page can borrow what a browser keeps. A request without
// an Origin goes straight on.
func (a *api) acrossOrigins(pattern string, handler http.Handler) http.Handler {
	if a.deps.Origins == nil || !slices.Contains(forPages(), pattern) {
		return handler
	}
	shared := cors.Handler(cors.Options{
		AllowOriginFunc: func(*http.Request, string) bool { return true }, // asked below
		AllowedMethods:  []string{http.MethodGet, http.MethodPost},
		AllowedHeaders:  []string{"Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"},
		// Date is what a date in Retry-After is measured by.
		ExposedHeaders: []string{"Retry-After", "Date", "X-Request-Id"},
		MaxAge:         preflightSeconds,
	})(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given := r.Header["Origin"]; !given {
			handler.ServeHTTP(w, r)
			return
		}
		if allowed, cross := a.deps.Origins.Allow(r); !allowed || !cross {
			w.Header().Add("Vary", "Origin")
			handler.ServeHTTP(w, r)
			return
		}
		shared.ServeHTTP(w, r)
	})
}

// preflights answers what browsers ask before a page's request to one of the patterns.
func (a *api) preflights(router *chi.Mux, patterns ...string) {
	if a.deps.Origins == nil {
		return
	}
	other := a.handler(route{name: "none", need: need{on: everybody}, serve: a.methodNotAllowed(router)})
	for _, pattern := range patterns {
		if slices.Contains(forPages(), pattern) {
			router.Method(http.MethodOptions, pattern, a.acrossOrigins(pattern, other))
		}
	}
}
