package edge

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/rivulet-rt/rivulet/session"
)

// The headers by which proxies say whom they speak for. Only one is read: a proxy that
// sets one of them passes on what a client wrote into the other.
const (
	XForwardedFor = "X-Forwarded-For"
	Forwarded     = "Forwarded"
)

// Trusted are the proxies whose word counts.
type Trusted []netip.Prefix

// ParseTrusted reads addresses and CIDR prefixes. The error has every one that is neither.
func ParseTrusted(list []string) (Trusted, error) {
	var t Trusted
	var errs []error
	for i, s := range list {
		prefix, err := parsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("server.trusted_proxies[%d]: %q is no address like 10.0.0.7 and no range like 10.0.0.0/8 or fd00::/8", i, s))
			continue
		}
		t = append(t, prefix)
	}
	return t, errors.Join(errs...)
}

func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap()
		return addr.WithZone("").Prefix(addr.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, errors.Join(err, errMapped)
	}
	return p.Masked(), nil
}

var errMapped = errors.New("edge: an IPv4 range is written without ::ffff:")

// Contains reports whether addr is a trusted proxy.
func (t Trusted) Contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(t, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func (t Trusted) containsPeer(peer net.Addr) bool {
	tcp, ok := peer.(*net.TCPAddr)
	return ok && t.Contains(tcp.AddrPort().Addr())
}

// Everybody reports whether t trusts every IPv4 or every IPv6 address.
func (t Trusted) Everybody() bool {
	return slices.ContainsFunc(t, func(p netip.Prefix) bool { return p.Bits() == 0 })
}

// Middleware tells next, by [session.ClientAddr], whom trusted proxies speak for. header
// is [XForwardedFor] or [Forwarded].
func (t Trusted) Middleware(header string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer := session.ClientAddr(r)
		if client := t.client(peer, r.Header[header], header == Forwarded); client != peer {
			r = r.WithContext(session.WithClientAddr(r.Context(), client))
		}
		next.ServeHTTP(w, r)
	})
}

// client walks the hops from the nearest on and returns the first that is no trusted
// proxy. Where a hop is no address, whoever named it is the last that is known. Where
// all are trusted, it is the farthest.
func (t Trusted) client(peer netip.Addr, lines []string, standard bool) netip.Addr {
	client := peer
	for _, line := range slices.Backward(lines) {
		for more := true; more; {
			if !t.Contains(client) {
				return client
			}
			var hop string
			line, hop, more = cutLast(line, standard)
			addr, ok := parseHop(hop, standard)
			if !ok {
				return client
			}
			client = addr
		}
	}
	return client
}

// cutLast takes the last element off a list. With quotes a comma may be in a quoted
// string. Reading from the right, it never meets what a client wrote to the left of a
// proxy's own element, such as a quote that does not end.
func cutLast(line string, quotes bool) (rest, last string, more bool) {
	quoted := false
	for i := len(line) - 1; i >= 0; i-- {
		switch line[i] {
		case '"':
			if quotes && !escaped(line[:i]) {
				quoted = !quoted
			}
		case ',':
			if !quoted {
				return line[:i], line[i+1:], true
			}
		}
	}
	return "", line, false
}

// escaped reports whether what follows s has a backslash before it that counts.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

func parseHop(hop string, standard bool) (netip.Addr, bool) {
	hop = strings.TrimSpace(hop)
	if standard {
		var ok bool
		if hop, ok = forParameter(hop); !ok {
			return netip.Addr{}, false
		}
	}
	// With a port, as some proxies write it, or without.
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]"))
	if err != nil {
		with, err := netip.ParseAddrPort(hop)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = with.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// forParameter returns the one "for" of an element of Forwarded (RFC 7239), and false
// where the element has none, two, or is malformed: nobody can say then what was meant.
func forParameter(element string) (value string, found bool) {
	for element != "" {
		name, rest, ok := strings.Cut(element, "=")
		if !ok || name == "" || strings.ContainsAny(name, `";,\ `) {
			return "", false
		}
		v, rest, ok := cutValue(rest)
		if !ok {
			return "", false
		}
		if strings.EqualFold(name, "for") {
			if found {
				return "", false
			}
			value, found = v, true
		}
		element = rest
	}
	return value, found
}

// cutValue takes a token or a quoted string off s, with the semicolon behind it.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ";")
		value = strings.TrimSpace(value)
		return value, strings.TrimSpace(rest), value != "" && !strings.ContainsAny(value, `"\ `)
	}
	end := 1
	for end < len(s) && (s[end] != '"' || escaped(s[:end])) {
		end++
	}
	if end == len(s) {
		return "", "", false
	}
	rest = strings.TrimSpace(s[end+1:])
	if rest != "" && rest[0] != ';' {
		return "", "", false
	}
	return s[1:end], strings.TrimSpace(strings.TrimPrefix(rest, ";")), true
}
