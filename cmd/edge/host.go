package edge

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/rivulet-rt/rivulet/session"
)

// LocalHosts refuses, with 403, requests for a host that is not a name of this machine
// (localhost and below, or a loopback address); hint says what to do instead. It is for
// what asks for no token on the loopback: a page can have its own name lead to 127.0.0.1, and then counts as one of the node's host
// for the browser, which lets it read everything (DNS rebinding). The name itself it cannot
// change. A request without Host, which no browser makes, passes.
func LocalHosts(hint string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "" && !localHost(r.Host) {
			session.WriteHTTPStatus(w, http.StatusForbidden, "Host: is not a name of this machine, and "+hint)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}
