package session

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// notSentLowWater bounds what the kernel takes for a client beyond what is in
// flight; without it a client that does not read pins megabytes.
const notSentLowWater = 16 << 10

// Tune prepares a connection for many small frames and a bounded kernel buffer.
// It does nothing where the connection is not TCP.
func Tune(conn net.Conn) {
	control(conn, func(fd uintptr) {
		// The socket works without it too, so a refusal is no error.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowWater)
	})
}

// Unacked is how many bytes the kernel holds for the peer: not sent, or not
// acknowledged. 0 where the connection is not TCP.
func Unacked(conn net.Conn) (n int) {
	control(conn, func(fd uintptr) {
		if v, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			n = v
		}
	})
	return n
}

// control runs f on the socket under conn, be it wrapped (TLS) or not.
func control(conn net.Conn, f func(fd uintptr)) {
	for {
		if sc, ok := conn.(syscall.Conn); ok {
			if raw, err := sc.SyscallConn(); err == nil {
				_ = raw.Control(f) // fails only if closed
			}
			return
		}
		inner, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		conn = inner.NetConn()
	}
}
