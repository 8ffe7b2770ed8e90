package socket

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// notSentLowWater bounds, in bytes, what the kernel takes for a client beyond what is
// in flight; without it a client that does not read pins megabytes.
const notSentLowWater = 16 << 10

// tune bounds the kernel's buffer. It does nothing where the connection is not TCP.
func tune(conn net.Conn) { control(conn, func(fd uintptr) { tuneFD(int(fd)) }) }

func tuneFD(fd int) {
	// The socket works without them too, so a refusal is no error. The heartbeat finds
	// out dead peers, by what comes back or is acknowledged; the kernel's probes would
	// come on top.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowWater)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
}

func unacked(conn net.Conn) (n int) {
	control(conn, func(fd uintptr) { n = unackedFD(int(fd)) })
	return n
}

func unackedFD(fd int) int {
	v, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return v
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
