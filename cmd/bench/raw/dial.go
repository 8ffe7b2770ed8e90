//go:build linux

package raw

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Peer is whom a connection is made to, and as whom.
type Peer struct {
	To netip.AddrPort
	// From is the local address, if valid. One address has some 28,000 ports to one
	// peer; more connections need more addresses.
	From  netip.Addr
	Host  string // of the HTTP request; "" is localhost
	Token string // sent with the handshake, "" for none
}

// Dial begins to connect and sends hello once that is done.
func (l *Loop) Dial(to netip.AddrPort, hello []byte, h Handler) (*Conn, error) {
	return l.DialPeer(Peer{To: to}, hello, h)
}

// DialPeer is Dial from the peer's From.
func (l *Loop) DialPeer(p Peer, hello []byte, h Handler) (*Conn, error) {
	if !p.To.Addr().Is4() {
		return nil, fmt.Errorf("raw: %v is not an IPv4 address", p.To)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("raw: socket: %w", err)
	}
	c := &Conn{loop: l, handler: h, fd: fd, out: append([]byte(nil), hello...)}
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = c
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil {
		// Edges: there is one registration for the connection's whole life, and a
		// read that does not fill the buffer needs no second one to find it empty.
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
			Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd),
		})
	}
	if err == nil {
		err = bindAddress(fd, p.From)
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(p.To.Port()), Addr: p.To.Addr().As4()})
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		c.Cut()
		return nil, fmt.Errorf("raw: connect to %v: %w", p.To, err)
	}
	return c, nil
}

// bindAddress fixes the address and leaves the port to connect, which may then
// take one that is in use towards another peer.
func bindAddress(fd int, from netip.Addr) error {
	if !from.Is4() {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()})
}
