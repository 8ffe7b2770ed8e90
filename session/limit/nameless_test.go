package limit_test

import (
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/session/limit"
)

// reader is who reads.
type reader struct {
	publisher string
	addr      netip.Addr
	client    string
}

// TestReadsOfTheNameless: who has no name is counted by address, over whatever they come, and
// where that is exempt by connection.
func TestReadsOfTheNameless(t *testing.T) {
	const nobody = "user:"
	addr := netip.MustParseAddr
	for name, tc := range map[string]struct {
		first, second reader
		together      bool // one's reads count as the other's
	}{
		"one address, over HTTP":  {reader{nobody, addr("192.0.2.1"), ""}, reader{nobody, addr("192.0.2.1"), ""}, true},
		"connections of one":      {reader{nobody, addr("192.0.2.1"), "a"}, reader{nobody, addr("192.0.2.1"), "b"}, true},
		"one line of IPv6":        {reader{nobody, addr("2001:db8::1"), ""}, reader{nobody, addr("2001:db8::2"), "b"}, true},
		"two lines of IPv6":       {reader{nobody, addr("2001:db8::1"), ""}, reader{nobody, addr("2001:db8:0:1::1"), ""}, false},
		"two addresses":           {reader{nobody, addr("192.0.2.1"), ""}, reader{nobody, addr("192.0.2.2"), ""}, false},
		"exempt, of connections":  {reader{nobody, addr("127.0.0.1"), "a"}, reader{nobody, addr("127.0.0.1"), "b"}, false},
		"a user at an address":    {reader{"user:ann", addr("192.0.2.1"), ""}, reader{nobody, addr("192.0.2.1"), ""}, false},
		"a user at two addresses": {reader{"user:ann", addr("192.0.2.1"), ""}, reader{"user:ann", addr("192.0.2.2"), "b"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := limit.DefaultConfig()
				cfg.Reads = limit.Rate{PerSecond: 10, Burst: 100}
				l, err := limit.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
				if err != nil {
					t.Fatal(err)
				}
				one, other := tc.first, tc.second
				if err := l.Read(t.Context(), one.publisher, one.addr, one.client, 100); err != nil {
					t.Fatal(err)
				}
				if err := l.Read(t.Context(), one.publisher, one.addr, one.client, 100); err == nil {
					t.Error("twice of what there is at once")
				}
				if err := l.Read(t.Context(), other.publisher, other.addr, other.client, 100); (err != nil) != tc.together {
					t.Errorf("the other: %v", err)
				}
			})
		})
	}
}
