package cmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/edge"
)

// TLSConfig is how the listener speaks TLS; without a certificate, and without ACME, it
// does not.
type TLSConfig struct {
	// CertFile has the chain, leaf first, KeyFile its key, both in PEM. They are read again
	// when they change.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ClientCAFile has the authorities of client certificates, which Auth.Certificates are of.
	ClientCAFile string `yaml:"client_ca_file"`
	MinVersion   string `yaml:"min_version"` // 1.2 or 1.3
}

// ACMEConfig has the certificate issued by an authority that checks the domains itself.
type ACMEConfig struct {
	Domains []string `yaml:"domains"`
	Email   string   `yaml:"email"`
	// DirectoryURL is the authority's; empty is Let's Encrypt.
	DirectoryURL string `yaml:"directory_url"`
	// CacheDir keeps the account, keys and certificates; others must not be able to look in.
	CacheDir string `yaml:"cache_dir"`
	// CAFile has the authorities of the authority's own server; empty is the system's.
	CAFile string `yaml:"ca_file"`
}

// CertificateConfig is one publisher that is known by its client certificate.
type CertificateConfig struct {
	// Subject is a URI among the certificate's alternative names, or its common name.
	Subject      string                   `yaml:"subject"`
	Capabilities map[string][]auth.Action `yaml:"capabilities"`
}

// encrypted reports whether the listener speaks TLS.
func (s ServerConfig) encrypted() bool { return s.TLS.CertFile != "" || len(s.ACME.Domains) > 0 }

// trusted are the proxies of a valid configuration.
func (c Config) trusted() edge.Trusted {
	t, _ := edge.ParseTrusted(c.Server.TrustedProxies)
	return t
}

func (c Config) tlsConfig() edge.TLSConfig {
	t, a := c.Server.TLS, c.Server.ACME
	return edge.TLSConfig{
		Files:      edge.Files{Cert: t.CertFile, Key: t.KeyFile, ClientCA: t.ClientCAFile},
		ACME:       edge.ACMEConfig{Domains: a.Domains, Email: a.Email, DirectoryURL: a.DirectoryURL, CacheDir: a.CacheDir, CAFile: a.CAFile},
		MinVersion: t.MinVersion,
	}
}

func (c Config) identities() (edge.Identities, error) {
	var list []edge.IdentityConfig
	for _, id := range c.Auth.Certificates {
		list = append(list, edge.IdentityConfig{Subject: id.Subject, Capabilities: id.Capabilities})
	}
	return edge.NewIdentities(list)
}

// edgeProblems are those of how connections come in.
func (c Config) edgeProblems() []error {
	s, errs := c.Server, []error(nil)
	if _, err := edge.ParseTrusted(s.TrustedProxies); err != nil {
		errs = append(errs, parts(err)...)
	}
	if s.ForwardedHeader != edge.XForwardedFor && s.ForwardedHeader != edge.Forwarded {
		errs = append(errs, fmt.Errorf("server.forwarded_header: %q is not one of %s, %s", s.ForwardedHeader, edge.XForwardedFor, edge.Forwarded))
	}
	if s.ProxyProtocol && len(s.TrustedProxies) == 0 {
		errs = append(errs, errors.New("server.proxy_protocol: nobody could connect, as only trusted proxies may; list them in server.trusted_proxies"))
	}
	errs = append(errs, c.tlsProblems()...)
	errs = append(errs, s.ACME.problems(s.TLS)...)
	return append(errs, c.adminProblems()...)
}

func (c Config) tlsProblems() []error {
	t, errs := c.Server.TLS, []error(nil)
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := edge.MinVersion(t.MinVersion); err != nil {
		errs = append(errs, err)
	}
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		fail("server.tls.key_file: is empty; a certificate needs its key")
	case t.CertFile == "" && t.KeyFile != "":
		fail("server.tls.cert_file: is empty; a key needs its certificate")
	}
	if t.ClientCAFile != "" && !c.Server.encrypted() {
		fail("server.tls.client_ca_file: client certificates exist on TLS only; set server.tls.cert_file and key_file, or server.acme.domains")
	}
	if len(c.Auth.Certificates) > 0 && t.ClientCAFile == "" {
		fail("auth.certificates: nobody signs them; set server.tls.client_ca_file")
	}
	if len(c.Auth.Certificates) > 0 && c.Dev {
		fail("auth.certificates: dev lets everybody in; drop --dev or the certificates")
	}
	if _, err := c.identities(); err != nil {
		errs = append(errs, parts(err)...)
	}
	return errs
}

func (a ACMEConfig) problems(t TLSConfig) []error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(a.Domains) == 0 {
		for key, value := range map[string]string{
			"email": a.Email, "directory_url": a.DirectoryURL, "cache_dir": a.CacheDir, "ca_file": a.CAFile,
		} {
			if value != "" {
				fail("server.acme.%s: says nothing without server.acme.domains", key)
			}
		}
		return errs
	}
	if t.CertFile != "" {
		fail("server.acme.domains: server.tls.cert_file is set too; keep one")
	}
	for i, d := range a.Domains {
		if !isDomain(d) {
			fail("server.acme.domains[%d]: %q is no name that a certificate can be issued for; write for example rt.example.com", i, d)
		}
	}
	if a.CacheDir == "" {
		fail("server.acme.cache_dir: is empty; without it every start asks for new certificates, which authorities limit")
	}
	if _, err := mail.ParseAddress(a.Email); a.Email != "" && err != nil {
		fail("server.acme.email: %q is no address", a.Email)
	}
	if u, err := url.Parse(a.DirectoryURL); a.DirectoryURL != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
		fail("server.acme.directory_url: must be like https://acme.example/directory")
	}
	return errs
}

// isDomain reports whether s is a name with dots of letters, digits and hyphens.
func isDomain(s string) bool {
	labels := strings.Split(s, ".")
	ok := len(labels) > 1 && len(s) <= 253 && net.ParseIP(s) == nil
	for _, label := range labels {
		ok = ok && label != "" && len(label) <= 63 && strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	}
	return ok
}

func (c Config) adminProblems() []error {
	address := c.Server.AdminListen
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return []error{fmt.Errorf("server.admin_listen: %q is not host:port; write for example 127.0.0.1:9090", address)}
	case !validPort(port):
		return []error{fmt.Errorf("server.admin_listen: %q has the port %q; it must be 0 to 65535", address, port)}
	case address == c.ListenAddress() && port != "0":
		return []error{fmt.Errorf("server.admin_listen: %q is the address of server.listen; it needs one of its own", address)}
	case c.Dev && !isLoopback(host):
		return []error{fmt.Errorf("server.admin_listen: %q can be reached from other machines and dev lets everybody in; listen on 127.0.0.1", address)}
	}
	return nil
}

// fileProblems are those of the certificate's files as they are now, and when it ends.
func (c Config) fileProblems() (expires time.Time, err error) {
	files := c.tlsConfig().Files
	if files == (edge.Files{}) || c.tlsProblems() != nil {
		return time.Time{}, nil
	}
	return files.Check()
}

// newTLS is nil where the node does not speak it.
func (n *Node) newTLS(ctx context.Context) (*edge.TLS, error) {
	if !n.cfg.Server.encrypted() {
		return nil, nil //nolint:nilnil // TLS is off, which is no error
	}
	return edge.NewTLS(ctx, n.cfg.tlsConfig(), n.log, n.reg)
}
