package api

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Shared header values, so that a response costs no memory for them. Nobody
// appends to them: each is at its full capacity.
//
//nolint:gochecknoglobals // constants, but for Go's lack of constant slices
var (
	valueJSON    = []string{"application/json"}
	valueNosniff = []string{"nosniff"}
	valueNoStore = []string{"no-store"}
	valueCSP     = []string{"default-src 'none'; frame-ancestors 'none'"}
)

func headerJSON() []string { return valueJSON }

// setCommonHeaders sets what every response has and returns the request's id: the
// caller's X-Request-Id if it is a sane one, otherwise a new one.
func setCommonHeaders(out, in http.Header) string {
	out["X-Content-Type-Options"] = valueNosniff
	out["Cache-Control"] = valueNoStore
	out["Content-Security-Policy"] = valueCSP
	id := in.Get("X-Request-Id")
	if !saneID(id) {
		id = rand.Text()
	}
	out["X-Request-Id"] = []string{id}
	return id
}

func saneID(s string) bool {
	ok := s != "" && len(s) <= 64
	for i := range len(s) {
		b := s[i]
		ok = ok && (b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("-_.:/=+", b) >= 0)
	}
	return ok
}

// bearer returns the token of the Authorization header, "" if there is none. A
// header of another scheme is meant for something else, such as a proxy.
func bearer(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// setRetryAfter sets the header to whole seconds, rounded up; not at all for 0.
func setRetryAfter(h http.Header, after time.Duration) {
	if after > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
}
