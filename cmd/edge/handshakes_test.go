package edge_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/cmd/edge"
)

// TestFailedHandshakes: each is counted by its reason, the log is told once in a while,
// and of health checks and port scanners not at all.
func TestFailedHandshakes(t *testing.T) {
	reg := prometheus.NewRegistry()
	var told bytes.Buffer
	server := slog.NewLogLogger(edge.NewHandshakes(slog.New(slog.NewTextHandler(&told, nil)), reg), slog.LevelDebug)
	const from = "http: TLS handshake error from 192.0.2.1:7: "
	for why, reason := range map[string]string{
		"EOF":                            "gone",
		"read: connection reset by peer": "gone",
		"tls: failed to verify certificate: x509: certificate signed by unknown authority": "client_certificate",
		"tls: client offered only unsupported versions: [302 301]":                         "protocol",
		"tls: first record does not look like a TLS handshake":                             "protocol",
		"remote error: tls: unknown certificate authority":                                 "refused",
		"read tcp 192.0.2.2:1->192.0.2.1:7: i/o timeout":                                   "timeout",
		"something new": "other",
	} {
		before := counted(t, reg, reason)
		server.Print(from + why)
		if got := counted(t, reg, reason) - before; got != 1 {
			t.Errorf("%s: counted %v times as %s", why, got, reason)
		}
	}
	server.Print("http: superfluous response.WriteHeader call")
	if n := strings.Count(told.String(), "\n"); n != 1 || strings.Contains(told.String(), "EOF") {
		t.Errorf("the log was told %d times:\n%s", n, &told)
	}
	if !strings.Contains(told.String(), "from=192.0.2.1:7") {
		t.Errorf("it does not say of whom:\n%s", &told)
	}
}

func counted(t *testing.T, reg *prometheus.Registry, reason string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "rivulet_edge_tls_handshakes_failed_total" && m.GetLabel()[0].GetValue() == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("nothing counts %s", reason)
	return 0
}
