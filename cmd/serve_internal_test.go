package cmd

import (
	"testing"
)

// TestPlaintextIsSaid: a node that others can reach says at its start that nothing is
// encrypted, unless that is done before it.
func TestPlaintextIsSaid(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*ServerConfig)
		want   bool
	}{
		"all interfaces": {func(*ServerConfig) {}, true},
		"one of them":    {func(s *ServerConfig) { s.Listen = "192.0.2.1:80" }, true},
		"this machine":   {func(s *ServerConfig) { s.Listen = "127.0.0.1:8080" }, false},
		"with TLS":       {func(s *ServerConfig) { s.TLS.CertFile = "x" }, false},
		"behind a proxy": {func(s *ServerConfig) { s.TrustedProxies = []string{"10.0.0.1"} }, false},
	} {
		cfg := DefaultConfig()
		tc.change(&cfg.Server)
		if got := plaintext(cfg); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
