package cmd

import (
	"net"
	"os"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/edge"
)

func listenSummary(cfg Config) string {
	s := cfg.ListenAddress() + ", "
	switch {
	case cfg.Server.TLS.CertFile != "":
		s += "TLS from " + cfg.Server.TLS.MinVersion + " on with " + cfg.Server.TLS.CertFile
		if expires, err := cfg.fileProblems(); err == nil {
			s += ", which ends " + expires.UTC().Format(time.DateOnly)
		}
	case cfg.Server.encrypted():
		s += "TLS from " + cfg.Server.TLS.MinVersion + " on, certificates by ACME for " + strings.Join(cfg.Server.ACME.Domains, ", ")
	default:
		s += "not encrypted"
	}
	if n := len(cfg.Server.TrustedProxies); n > 0 {
		s += ", behind " + strings.Join(cfg.Server.TrustedProxies, ", ")
	}
	return s
}

func adminSummary(cfg Config) string {
	switch {
	case cfg.Server.AdminListen == "" && cfg.Dev:
		return "the same: metrics are public there, control routes need no token; no profiles"
	case cfg.Server.AdminListen == "":
		return "the same: metrics are public there, control routes need a token; no profiles"
	}
	return cfg.Server.AdminListen + ": metrics, profiles, and the control of users, sessions, keys, revocations and webhooks are there alone"
}

func certificateSummary(cfg Config) string {
	if n := len(cfg.Auth.Certificates); n > 0 {
		return " and " + plural(n, "client certificate")
	}
	return ""
}

func hookSummary(cfg Config) string {
	switch ch := cfg.Auth.ConnectHook; {
	case ch.Hook.URL == "":
		return ""
	case ch.InsteadOfToken:
		return "; clients whom the connect hook lets in, whatever their token"
	}
	return "; of clients those whom the connect hook lets in"
}

// edgeInsecurities are those of how connections come in.
func edgeInsecurities(cfg Config) []string {
	var list []string
	s := cfg.Server
	if reachable(cfg.ListenAddress()) && !s.encrypted() {
		list = append(list, "server.listen: "+cfg.ListenAddress()+" can be reached from other machines and is not encrypted; "+
			"set server.tls or server.acme, or put a proxy with TLS in front of it")
	}
	if cfg.trusted().Everybody() {
		list = append(list, "server.trusted_proxies: every address is trusted, so that any client can claim any other's; list the proxies alone")
	}
	if s.AdminListen != "" && reachable(s.AdminListen) {
		warning := "server.admin_listen: " + s.AdminListen + " can be reached from other machines, and metrics and profiles need no token; " +
			"listen on 127.0.0.1, or let only operators through the firewall"
		if !s.encrypted() {
			warning += "; it is not encrypted either"
		}
		list = append(list, warning)
	}
	if s.AdminListen == "" && reachable(cfg.ListenAddress()) {
		list = append(list, "server.admin_listen: is not set, so that whoever reaches "+cfg.ListenAddress()+" can read /metrics")
	}
	if expires, err := cfg.fileProblems(); err == nil && !expires.IsZero() && edge.ExpiresSoon(expires, time.Now()) {
		list = append(list, "server.tls.cert_file: "+s.TLS.CertFile+" ends "+expires.UTC().Format(time.RFC3339)+"; replace it")
	}
	return list
}

// reachable reports whether other machines can connect to a valid address.
func reachable(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && !isLoopback(host)
}

// exposedFiles are the files with secrets that other users may read.
func exposedFiles(cfg Config) []string {
	var list []string
	look := func(key, file string) {
		if readableByOthers(file) {
			list = append(list, key+": "+file+" can be read by other users; chmod 600 it")
		}
	}
	look("server.tls.key_file", cfg.Server.TLS.KeyFile)
	look("broker.nats_url_file", cfg.Broker.NATSURLFile)
	look("broker.nats_credentials", cfg.Broker.NATSCredentials)
	for _, w := range cfg.Webhooks {
		look("webhooks."+w.Name+".secret_file", w.SecretFile)
	}
	return list
}

func readableByOthers(file string) bool {
	if file == "" {
		return false
	}
	info, err := os.Stat(file)
	return err == nil && edge.Exposed(info)
}
