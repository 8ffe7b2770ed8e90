package api

import "github.com/rivulet-rt/rivulet/session"

// caller tells who makes a request from others, where they share what there is: the key or
// the user, or of those without a name the address.
func (x *exchange) caller() string {
	if x.nameless() {
		return "address:" + x.address()
	}
	return x.claims.Publisher()
}

func (x *exchange) nameless() bool { return x.claims.Subject == "" && x.claims.Key == "" }

// address is the client's, of IPv6 the part that one subscriber line has.
func (x *exchange) address() string {
	const line = 64
	addr := session.ClientAddr(x.r)
	if addr.Is6() {
		if p, err := addr.Prefix(line); err == nil {
			addr = p.Addr()
		}
	}
	return addr.String()
}
