package session

import (
	"net/http"
	"net/netip"
)

// ClientAddr is the address of the request's client; not valid where it is not known.
func ClientAddr(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap()
}
