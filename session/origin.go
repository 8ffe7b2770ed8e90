package session

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Origins decides which web pages may connect. A request without an Origin
// header is no browser's and is allowed; so is a page of the node's own host, which to
// TLS must have come over it.
type Origins struct {
	any     bool
	allowed []origin
}

// origin is scheme and host (with port) of an allowed page.
type origin struct {
	scheme, host string
	subdomains   bool // host stands for any name below it
	anyPort      bool // host is without its port
}

// ParseOrigins reads the entries of Config.Origins. The error has all that are wrong, each
// with its place.
func ParseOrigins(list []string) (*Origins, error) {
	o := &Origins{}
	var errs []error
	for i, entry := range list {
		if entry == "*" {
			o.any = true
			continue
		}
		bare, anyPort := strings.CutSuffix(entry, ":*")
		parsed, ok := parseOrigin(strings.Replace(bare, "://*.", "://", 1))
		if !ok || anyPort && hasPort(parsed.host) {
			errs = append(errs, fmt.Errorf(`session.origins[%d]: %q must be like "https://a.example", "https://*.a.example:8443", "http://localhost:*" or "*"`, i, entry))
			continue
		}
		parsed.subdomains, parsed.anyPort = strings.Contains(entry, "://*."), anyPort
		o.allowed = append(o.allowed, parsed)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return o, nil
}

func parseOrigin(s string) (origin, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" ||
		u.Fragment != "" || strings.Contains(u.Host, "*") {
		return origin{}, false
	}
	return origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Host)}, true
}

// Allow reports whether the request may connect, and whether its page is of
// another host, so that an answer that is not a WebSocket must name it for CORS.
func (o *Origins) Allow(r *http.Request) (allowed, cross bool) {
	header := r.Header.Get("Origin")
	if header == "" {
		return true, false
	}
	from, ok := parseOrigin(header)
	// Whoever can forge plain HTTP can forge a page of the host; not one that came over TLS.
	if ok && strings.EqualFold(from.host, r.Host) && (r.TLS == nil || from.scheme == "https") {
		return true, false
	}
	if o.any {
		return true, true
	}
	for _, a := range o.allowed {
		if ok && a.matches(from) {
			return true, true
		}
	}
	return false, true
}

func (a origin) matches(from origin) bool {
	if a.scheme != from.scheme {
		return false
	}
	host := from.host
	if a.anyPort {
		host = withoutPort(host)
	}
	if !a.subdomains {
		return a.host == host
	}
	below, ok := strings.CutSuffix(host, "."+a.host)
	return ok && below != ""
}

func hasPort(host string) bool { return withoutPort(host) != host }

// withoutPort of a host as it stands in a URL, where an IPv6 address has brackets.
func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i]
	}
	return host
}

// originError refuses the page that a request comes from.
type originError struct{ err error }

func (e *originError) Error() string { return e.err.Error() }
func (e *originError) Unwrap() error { return e.err }

// originEvery is how often the log says that a page was refused: any page of the world can
// be the reason.
const originEvery = time.Minute

// AllowPage reports whether the page that a request comes from is of another host, or why it
// may not connect. The browser does not tell the page why, so that the log does.
func (r *Registry) AllowPage(req *http.Request) (cross bool, err error) {
	allowed, cross := r.origins.Allow(req)
	if allowed {
		return cross, nil
	}
	from := req.Header.Get("Origin")
	now := time.Now().UnixNano()
	if told := r.originTold.Load(); (told == 0 || now-told >= int64(originEvery)) && r.originTold.CompareAndSwap(told, now) {
		r.log.Warn("a page may not connect; if it is yours, name its origin in session.origins",
			slog.String("origin", fmt.Sprintf("%.128s", from)), slog.String("host", fmt.Sprintf("%.128s", req.Host)))
	}
	return cross, &originError{Forbidden("Origin", "%.128q is not among the allowed origins (session.origins)", from)}
}
