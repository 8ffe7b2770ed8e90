package cmd

import (
	"errors"
	"fmt"

	"github.com/rivulet-rt/rivulet/cmd/edge"
)

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
	return errs
}
