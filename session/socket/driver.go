package socket

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// Handler is whose connection a Driver drives.
type Handler interface {
	// Receive takes what has arrived; p is valid during the call only. It must not
	// wait: for what may wait it returns true, and Work follows.
	Receive(p []byte) (work bool)
	// Work does what Receive left to it. It may wait.
	Work()
	// Ended is the last of these calls: err is why nothing more will arrive, io.EOF at
	// the peer's end. It may wait, and calls Release when the connection is done with.
	Ended(err error)
	// Writable says that what TryWrite did not take may be tried again. It may come at
	// any time, also without need, and once more just after Release; it must not wait.
	Writable()
}

// Driver is one connection. Its methods may be called at any time, by anybody; after
// Release they do nothing.
type Driver interface {
	Wire
	// Begin starts to receive.
	Begin()
	// CloseWrite tells the peer that nothing more will be sent.
	CloseWrite()
	// Release gives the descriptor back. Nothing may be read or written any more.
	Release()
}

// Wire is what a Driver is to whoever writes. It has TryWrite as well (a [Socket]), or
// a Write that may wait.
type Wire interface {
	// Close ends the connection: Ended follows, if Begin was called and it has not come yet.
	Close() error
	// SetDeadline ends the connection at t if it still lasts. A later one replaces it.
	SetDeadline(t time.Time) error
	// Unacked is how many bytes the kernel holds for the peer: not sent, or not
	// acknowledged. 0 where that is not known.
	Unacked() int
}

// readBuffer is how much is received at once.
const readBuffer = 16 << 10

// Group drives the connections of a node. Its methods may be called concurrently.
type Group struct {
	spawn   func(func())
	log     *slog.Logger
	buffers sync.Pool // of *[readBuffer]byte, for goroutines

	pollers
}

// NewGroup returns a group that runs goroutines by spawn. It logs, once each, that
// the kernel refuses it what it needs.
func NewGroup(spawn func(func()), logger *slog.Logger) *Group {
	return &Group{spawn: spawn, log: logger}
}

// Attach takes conn over for h: conn is not to be used any more.
func (g *Group) Attach(conn net.Conn, h Handler) Driver {
	if s := g.take(conn, h); s != nil {
		return s
	}
	tune(conn)
	return &stream{Conn: conn, group: g, handler: h}
}

func (g *Group) buffer() *[readBuffer]byte {
	if b, ok := g.buffers.Get().(*[readBuffer]byte); ok {
		return b
	}
	return new([readBuffer]byte)
}

// stream is the fallback: a goroutine that reads. Whoever writes may have to wait.
type stream struct {
	net.Conn
	group   *Group
	handler Handler
}

var _ Driver = (*stream)(nil)

// Begin implements Driver.
func (s *stream) Begin() { s.group.spawn(s.read) }

func (s *stream) read() {
	// The connection keeps its buffer, as its goroutine waits in the read.
	buf := make([]byte, streamBuffer)
	for {
		n, err := s.Read(buf)
		if n > 0 && s.handler.Receive(buf[:n]) {
			s.handler.Work()
		}
		if err != nil {
			s.handler.Ended(err)
			return
		}
	}
}

// streamBuffer is what a connection of the fallback keeps for reading.
const streamBuffer = 1 << 10

// CloseWrite implements Driver.
func (s *stream) CloseWrite() {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // fails only if closed
	}
}

// Unacked implements Driver.
func (s *stream) Unacked() int { return unacked(s.Conn) }

// Release implements Driver.
func (s *stream) Release() { _ = s.Close() } // a second close, mostly
