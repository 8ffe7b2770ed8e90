package edge_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/cmd/edge"
	"github.com/rivulet-rt/rivulet/session"
)

func TestClientAddress(t *testing.T) {
	tests := []struct {
		name, peer, header string
		lines              []string
		want               string
	}{
		{"no header", "10.0.0.1:1", edge.XForwardedFor, nil, "10.0.0.1"},
		{"one proxy", "10.0.0.1:1", edge.XForwardedFor, []string{"203.0.113.9"}, "203.0.113.9"},
		{"around the proxy", "203.0.113.66:1", edge.XForwardedFor, []string{"198.51.100.1"}, "203.0.113.66"},
		{"around the proxy, as the proxy", "203.0.113.66:1", edge.XForwardedFor, []string{"10.0.0.1"}, "203.0.113.66"},
		{"through the proxy", "10.0.0.1:1", edge.XForwardedFor, []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		{"through the proxy, in a line of its own", "10.0.0.1:1", edge.XForwardedFor, []string{"198.51.100.1", "203.0.113.9"}, "203.0.113.9"},
		{"through the proxy, as one", "10.0.0.1:1", edge.XForwardedFor, []string{"198.51.100.1, 10.0.0.9, 203.0.113.9"}, "203.0.113.9"},
		{"two proxies", "10.0.0.1:1", edge.XForwardedFor, []string{"198.51.100.1, 203.0.113.9,10.1.2.3"}, "203.0.113.9"},
		{"all are trusted", "10.0.0.1:1", edge.XForwardedFor, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"rubbish before", "10.0.0.1:1", edge.XForwardedFor, []string{"\x00, <script>, 203.0.113.9"}, "203.0.113.9"},
		{"rubbish behind", "10.0.0.1:1", edge.XForwardedFor, []string{"203.0.113.9, unknown"}, "10.0.0.1"},
		{"empty element", "10.0.0.1:1", edge.XForwardedFor, []string{"203.0.113.9,"}, "10.0.0.1"},
		{"quotes mean nothing here", "10.0.0.1:1", edge.XForwardedFor, []string{`"198.51.100.1, 203.0.113.9`}, "203.0.113.9"},
		{"with a port", "10.0.0.1:1", edge.XForwardedFor, []string{"203.0.113.9:4711"}, "203.0.113.9"},
		{"IPv6", "[fd00::1]:1", edge.XForwardedFor, []string{"2001:db8::5"}, "2001:db8::5"},
		{"IPv6 with a port", "[fd00::1]:1", edge.XForwardedFor, []string{"[2001:db8::5]:80"}, "2001:db8::5"},
		{"IPv6 with a zone", "[fd00::1]:1", edge.XForwardedFor, []string{"fe80::1%eth0"}, "fe80::1"},
		{"mapped", "[::ffff:10.0.0.1]:1", edge.XForwardedFor, []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"the other header", "10.0.0.1:1", edge.XForwardedFor, nil, "10.0.0.1"},
		{"Forwarded", "10.0.0.1:1", edge.Forwarded, []string{"for=203.0.113.9;proto=https"}, "203.0.113.9"},
		{"Forwarded, for in the middle", "10.0.0.1:1", edge.Forwarded, []string{`by=10.0.0.1; For="[2001:db8::5]:80" ;host="a,b;c"`}, "2001:db8::5"},
		{"Forwarded through the proxy", "10.0.0.1:1", edge.Forwarded, []string{"for=198.51.100.1, for=203.0.113.9"}, "203.0.113.9"},
		{"Forwarded, a quote left open", "10.0.0.1:1", edge.Forwarded, []string{`for="198.51.100.1, for=203.0.113.9`}, "203.0.113.9"},
		{"Forwarded, a quote that spans", "10.0.0.1:1", edge.Forwarded, []string{`for=198.51.100.1;x="`, `for=203.0.113.9`}, "203.0.113.9"},
		{"Forwarded, hidden", "10.0.0.1:1", edge.Forwarded, []string{"for=_secret"}, "10.0.0.1"},
		{"Forwarded, for twice", "10.0.0.1:1", edge.Forwarded, []string{"for=198.51.100.1;for=203.0.113.9"}, "10.0.0.1"},
		{"Forwarded without for", "10.0.0.1:1", edge.Forwarded, []string{"proto=https"}, "10.0.0.1"},
		{"Forwarded, escaped quotes in what a client chose", "10.0.0.1:1", edge.Forwarded,
			[]string{`for=203.0.113.9;host="x\",for=198.51.100.1,\""`}, "203.0.113.9"},
		{"Forwarded, escaped backslash before the end", "10.0.0.1:1", edge.Forwarded, []string{`for=203.0.113.9;host="x\\"`}, "203.0.113.9"},
		{"no IP address", "@", edge.XForwardedFor, []string{"203.0.113.9"}, "invalid IP"},
	}
	trusted, err := edge.ParseTrusted([]string{"10.0.0.0/8", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.RemoteAddr = test.peer
			r.Header[test.header] = test.lines
			other := edge.Forwarded
			if test.header == edge.Forwarded {
				other = edge.XForwardedFor
			}
			r.Header.Set(other, "for=192.0.2.77")
			got := "not served"
			trusted.Middleware(test.header, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = session.ClientAddr(r).String()
			})).ServeHTTP(nil, r)
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestTrustedIsParsed(t *testing.T) {
	trusted, err := edge.ParseTrusted([]string{"10.1.2.3", "192.0.2.0/24", "::1", "2001:db8:1::/48", "::ffff:198.51.100.7"})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "10.1.2.4": false, "192.0.2.255": true, "192.0.3.0": false, "::1": true,
		"2001:db8:1:2::3": true, "2001:db8:2::": false, "::ffff:10.1.2.3": true, "198.51.100.7": true, "::1%lo": true,
	} {
		if got := trusted.Contains(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	_, err = edge.ParseTrusted([]string{"10.0.0.0/8", "proxy.example", "10.0.0.0/33", "::ffff:10.0.0.0/104"})
	for _, key := range []string{"server.trusted_proxies[1]", "server.trusted_proxies[2]", "server.trusted_proxies[3]"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("the error lacks %s: %v", key, err)
		}
	}
	for list, want := range map[string]bool{"0.0.0.0/0": true, "::/0": true, "10.0.0.0/8": false} {
		if everybody, _ := edge.ParseTrusted([]string{list}); everybody.Everybody() != want {
			t.Errorf("%s: everybody is not %v", list, want)
		}
	}
}

// FuzzClientAddress: whatever a client sends, through a proxy that appends the client's
// address, that address is the result.
func FuzzClientAddress(f *testing.F) {
	for _, s := range []string{"", `for="`, "1.2.3.4, ", `a\`, `for="\"`, `,,`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	trusted, _ := edge.ParseTrusted([]string{"10.0.0.1"})
	f.Fuzz(func(t *testing.T, sent string, standard bool) {
		header, own := edge.XForwardedFor, "203.0.113.9"
		if standard {
			header, own = edge.Forwarded, `for="203.0.113.9:80";proto=https`
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = "10.0.0.1:5"
		r.Header[header] = []string{sent + ", " + own}
		trusted.Middleware(header, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got := session.ClientAddr(r).String(); got != "203.0.113.9" {
				t.Errorf("%q made the client %s", sent, got)
			}
		})).ServeHTTP(nil, r)
	})
}
