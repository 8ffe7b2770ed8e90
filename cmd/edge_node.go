package cmd

import (
	"net"
	"net/http"

	"github.com/rivulet-rt/rivulet/cmd/edge"
)

// trusted are the proxies of a valid configuration.
func (c Config) trusted() edge.Trusted {
	t, _ := edge.ParseTrusted(c.Server.TrustedProxies)
	return t
}

// behindProxies is listener, where proxies say in a header of each connection for whom
// they opened it.
func (n *Node) behindProxies(listener net.Listener) net.Listener {
	if !n.cfg.Server.ProxyProtocol {
		return listener
	}
	return edge.ListenProxy(listener, n.cfg.trusted(), n.log, n.reg)
}

// clientAddresses is handler, told whom trusted proxies speak for.
func (n *Node) clientAddresses(handler http.Handler) http.Handler {
	if t := n.cfg.trusted(); len(t) > 0 {
		return t.Middleware(n.cfg.Server.ForwardedHeader, handler)
	}
	return handler
}
