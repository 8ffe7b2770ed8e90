package edge

import "net/http"

// Shared header values, so that a response costs no memory for them. Nobody appends to
// them: each is at its full capacity.
//
//nolint:gochecknoglobals // constants, but for Go's lack of constant slices
var (
	valueNosniff  = []string{"nosniff"}
	valueNoStore  = []string{"no-store"}
	valueCSP      = []string{"default-src 'none'; frame-ancestors 'none'"}
	valueDeny     = []string{"DENY"}
	valueReferrer = []string{"no-referrer"}
	valueHSTS     = []string{"max-age=15552000"} // 180 days
)

// SecurityHeaders sets, on every response, what keeps a browser from showing it as a page,
// in a frame, or from its cache. encrypted says that the listener is TLS: a browser that
// has been there then never tries without.
func SecurityHeaders(encrypted bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["X-Content-Type-Options"] = valueNosniff
		h["Cache-Control"] = valueNoStore
		h["Content-Security-Policy"] = valueCSP
		h["X-Frame-Options"] = valueDeny
		h["Referrer-Policy"] = valueReferrer
		if encrypted {
			h["Strict-Transport-Security"] = valueHSTS
		}
		next.ServeHTTP(w, r)
	})
}
