package session

import (
	"context"
	"net/http"
	"net/netip"
)

// clientAddrKey is where a request's context has the client's address.
type clientAddrKey struct{}

// WithClientAddr returns ctx with the address of the client that a request comes from,
// where that is not whoever opened the connection but what a trusted proxy says.
func WithClientAddr(ctx context.Context, addr netip.Addr) context.Context {
	return context.WithValue(ctx, clientAddrKey{}, addr)
}

// ClientAddr is the address that a request comes from: the one of [WithClientAddr], or
// else the peer's. An IPv4 address is never in the form of an IPv6 one, and none has a
// zone. It is the zero Addr where the peer has no IP address.
func ClientAddr(r *http.Request) netip.Addr {
	if addr, ok := r.Context().Value(clientAddrKey{}).(netip.Addr); ok {
		return addr
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap().WithZone("")
}
