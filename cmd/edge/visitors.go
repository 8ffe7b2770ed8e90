package edge

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Why a connection was closed unanswered.
const (
	visitorsAddress     = "address"
	visitorsDescriptors = "descriptors"
)

// Visits count the connections of an address that are no client's: AddVisit reports
// whether there may be one more, which RemoveVisit takes back. They must not wait.
type Visits interface {
	AddVisit(addr netip.Addr) bool
	RemoveVisit(addr netip.Addr)
}

// Visitors bounds the connections of an HTTP server, from when they are accepted until
// they are closed, or taken over by a client's, which is counted elsewhere. Past a bound
// they are closed before anything is read. Its methods may be called concurrently.
type Visitors struct {
	// Static after NewVisitors.
	visits  Visits
	trusted Trusted
	most    uint64
	refused map[string]prometheus.Counter

	mu   sync.Mutex // guards the following
	open map[net.Conn]netip.Addr
}

// NewVisitors returns one that asks visits about each connection's address, but for those
// of trusted proxies, which speak for many. Of descriptors that the process may have, a
// twentieth, and 128 at least, are left for all else; 0 is unknown and not bounded.
func NewVisitors(visits Visits, trusted Trusted, descriptors uint64, reg prometheus.Registerer) *Visitors {
	const least, part = 128, 20
	v := &Visitors{visits: visits, trusted: trusted, open: map[net.Conn]netip.Addr{}, refused: map[string]prometheus.Counter{}}
	if descriptors > 0 {
		v.most = descriptors - min(descriptors/2, max(least, descriptors/part))
	}
	refused := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_edge_refused_total", Help: "Connections closed unanswered because there were enough, of the address or of the node's descriptors.",
	}, []string{"reason"})
	for _, reason := range []string{visitorsAddress, visitorsDescriptors} {
		v.refused[reason] = refused.WithLabelValues(reason)
	}
	return v
}

// Watch is the server's ConnState.
func (v *Visitors) Watch(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if v.most > 0 && descriptor(conn) >= v.most {
			v.refuse(conn, visitorsDescriptors)
		} else if !behindProxy(conn) { // who that is, its header tells, which comes later
			v.add(conn)
		}
	case http.StateActive:
		if behindProxy(conn) && !v.counted(conn) {
			v.add(conn)
		}
	case http.StateHijacked, http.StateClosed:
		v.remove(conn)
	case http.StateIdle:
	}
}

func (v *Visitors) refuse(conn net.Conn, reason string) {
	v.refused[reason].Inc()
	conn.Close()
}

func (v *Visitors) counted(conn net.Conn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.open[conn]
	return ok
}

func (v *Visitors) add(conn net.Conn) {
	peer, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	addr := peer.AddrPort().Addr().Unmap().WithZone("")
	if v.trusted.Contains(addr) {
		return
	}
	if !v.visits.AddVisit(addr) {
		v.refuse(conn, visitorsAddress)
		return
	}
	v.mu.Lock()
	v.open[conn] = addr
	v.mu.Unlock()
}

func (v *Visitors) remove(conn net.Conn) {
	v.mu.Lock()
	addr, ok := v.open[conn]
	delete(v.open, conn)
	v.mu.Unlock()
	if ok {
		v.visits.RemoveVisit(addr)
	}
}

// beneath is the connection under TLS.
func beneath(conn net.Conn) net.Conn {
	if c, ok := conn.(*tls.Conn); ok {
		return c.NetConn()
	}
	return conn
}

func behindProxy(conn net.Conn) bool {
	_, ok := beneath(conn).(*proxyConn)
	return ok
}

// descriptor is the connection's number, 0 where it has none. The kernel gives the lowest
// that is free, so it also tells how many are in use.
func descriptor(conn net.Conn) (number uint64) {
	conn = beneath(conn)
	if c, ok := conn.(*proxyConn); ok {
		conn = c.NetConn()
	}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { number = uint64(fd) }) // fails where it is closed
	return number
}
