package test_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// handshakeFrom shakes hands from an address of this machine, with further lines of the
// header, and returns the status. The connection stays until the test's end.
func handshakeFrom(t *testing.T, base, address, lines string) int {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: deadline}
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(deadline))
	if _, err := conn.Write([]byte("GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines + upgrade + "\r\n")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestAttackAddresses: two connections are allowed to an address, and no header gets a client
// a third, around the proxy or through it.
func TestAttackAddresses(t *testing.T) {
	t.Parallel()
	const proxy, stranger = "127.0.0.2", "127.0.0.%d"
	f := besiege(t, `
namespaces: {t: {max_bytes: 64MiB}}
server: {trusted_proxies: [127.0.0.2]}
limits: {connections_per_ip: 2, exempt: [127.0.0.99/32, 203.0.113.99/32]}
`, "--dev")
	defer f.stands(t, 64<<20)
	next := 10
	for name, c := range map[string]struct {
		lines   func(i int) string // of the i-th handshake
		through bool               // the proxy, which has written the last address
		let     bool               // the third: each is another client, or one without a limit
	}{
		"nothing":              {lines: func(int) string { return "" }},
		"another address each": {lines: func(i int) string { return fmt.Sprintf("X-Forwarded-For: 198.51.100.%d\r\n", i) }},
		"one without limits":   {lines: func(int) string { return "X-Forwarded-For: 127.0.0.99\r\n" }},
		"the proxy's":          {lines: func(i int) string { return fmt.Sprintf("X-Forwarded-For: 198.51.100.%d, 127.0.0.2\r\n", i) }},
		"every header there is": {lines: func(i int) string {
			var lines strings.Builder
			for _, h := range []string{"X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "X-Originating-IP", "X-Remote-Addr"} {
				fmt.Fprintf(&lines, "%s: 198.51.100.%d\r\n", h, i)
			}
			return lines.String() + fmt.Sprintf("Forwarded: for=198.51.100.%d\r\n", i)
		}},
		"through, invented before": {through: true, lines: func(i int) string { return fmt.Sprintf("X-Forwarded-For: 198.51.100.%d, 203.0.113.1\r\n", i) }},
		"through, invented in a line of its own": {through: true, lines: func(i int) string {
			return fmt.Sprintf("X-Forwarded-For: 198.51.100.%d\r\nX-Forwarded-For: 203.0.113.2\r\n", i)
		}},
		"through, as one without limits": {through: true, lines: func(int) string { return "X-Forwarded-For: 203.0.113.99, 203.0.113.3\r\n" }},
		"through, as the proxy": {through: true, lines: func(i int) string {
			return fmt.Sprintf("X-Forwarded-For: 198.51.100.%d, 127.0.0.2, 203.0.113.4\r\n", i)
		}},
		"through, rubbish": {through: true, lines: func(i int) string { return fmt.Sprintf("X-Forwarded-For: %d,, \",;for=x, 203.0.113.5\r\n", i) }},
		"through, the other header": {through: true, lines: func(i int) string {
			return fmt.Sprintf("X-Forwarded-For: 203.0.113.6\r\nForwarded: for=198.51.100.%d\r\n", i)
		}},
		"through, a /64 of one's own": {through: true, lines: func(i int) string { return fmt.Sprintf("X-Forwarded-For: 2001:db8:0:1::%x\r\n", i+1) }},
		"through, IPv4 in IPv6": {through: true, lines: func(i int) string {
			return []string{"X-Forwarded-For: ::ffff:203.0.113.7\r\n", "X-Forwarded-For: 203.0.113.7\r\n", "X-Forwarded-For: ::FFFF:CB00:7107\r\n"}[i]
		}},
		"through, with ports":         {through: true, lines: func(i int) string { return fmt.Sprintf("X-Forwarded-For: 203.0.113.8:%d\r\n", 1000+i) }},
		"through, different clients":  {through: true, let: true, lines: func(i int) string { return fmt.Sprintf("X-Forwarded-For: 192.0.2.%d\r\n", i+1) }},
		"through, another /64 each":   {through: true, let: true, lines: func(i int) string { return fmt.Sprintf("X-Forwarded-For: 2001:db8:1:%x::1\r\n", i+1) }},
		"through, one without limits": {through: true, let: true, lines: func(int) string { return "X-Forwarded-For: 203.0.113.99\r\n" }},
	} {
		address := proxy
		if !c.through {
			address = fmt.Sprintf(stranger, next)
			next++
		}
		for i := range 3 {
			want := http.StatusSwitchingProtocols
			if i == 2 && !c.let {
				want = http.StatusTooManyRequests
			}
			if status := handshakeFrom(t, f.url(), address, c.lines(i)); status != want {
				t.Errorf("%s: handshake %d was answered %d, want %d", name, i+1, status, want)
			}
		}
	}
}

// TestAttackIdentity: no header says who somebody is but Authorization, and the listener that
// is for everybody has nothing of the operators' one, however its path is written.
func TestAttackIdentity(t *testing.T) {
	t.Parallel()
	f := besiege(t, fmt.Sprintf("namespaces: {t: {max_bytes: 64MiB}}\nserver: {admin_listen: %q}\nauth: {hmac: {secret: %s}}\n", ownAddress(t), attackSecret))
	defer f.stands(t, 64<<20)
	v := visit(t, f.node)
	for name, value := range map[string]string{
		"X-Forwarded-User": "admin", "X-Remote-User": "admin", "X-User": "admin", "X-Auth-Token": attackSecret, "X-Api-Key": attackSecret,
		"X-Ssl-Client-Verify": "SUCCESS", "X-Ssl-Client-S-Dn": "CN=admin", "X-Forwarded-Client-Cert": `Subject="CN=admin"`,
		"Cookie": "token=" + attackSecret, "Proxy-Authorization": "Bearer " + attackSecret, "Authorization": "Basic YWRtaW46YWRtaW4=",
		"Sec-Websocket-Protocol": "bearer, " + attackSecret, "X-Forwarded-For": "127.0.0.1",
	} {
		for door, status := range v.doors("", "t:a") {
			if status != http.StatusUnauthorized {
				t.Fatalf("without a token, at %s: %d", door, status)
			}
		}
		if status, _, _ := v.request(http.MethodGet, messagesPath("t:a"), "", http.Header{name: {value}}); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	for _, target := range []string{
		"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "//metrics", "//debug/pprof/", "/./metrics", "/v1/../metrics", "/v1/%2e%2e/metrics",
		"/metrics/", "/METRICS", "/%6detrics", "/debug%2fpprof%2f", "/v1/channels/..%2f..%2fmetrics", "/metrics;x", "/metrics%00", "/debug/vars",
	} {
		if status, _ := raw(t, f.url(), "GET "+target+" HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"); status != http.StatusNotFound && status != http.StatusBadRequest && status != http.StatusUnauthorized {
			t.Errorf("%s: %d", target, status)
		}
	}
}
