package session

import (
	"net"
	"syscall"
	"unsafe"

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

// Direct writes to a TCP connection without waiting. Its zero value and nil take nothing.
type Direct struct {
	raw  syscall.RawConn
	call func(fd uintptr) bool // d.write, made once so that a write allocates nothing
	p    []byte
	n    int
}

// NewDirect returns nil where the connection is not plain TCP.
func NewDirect(conn net.Conn) *Direct {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	d := &Direct{raw: raw}
	d.call = d.write
	return d
}

// TryWrite implements DirectWriter.
func (d *Direct) TryWrite(p []byte) int {
	if d == nil || len(p) == 0 {
		return 0
	}
	d.p, d.n = p, 0
	err := d.raw.Write(d.call)
	d.p = nil
	if err != nil {
		return 0
	}
	return d.n
}

// write makes the system call past the scheduler: the socket never blocks, so there
// is nothing to be scheduled around, and handing the processor over and back costs
// as much as the write.
func (d *Direct) write(fd uintptr) bool {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(d.p))), uintptr(len(d.p))) //nolint:gosec // the pointer is of d.p, which lives until after the call
	if errno == 0 {
		d.n = int(n)
	}
	return true // done, whatever came of it: false would wait for room
}
