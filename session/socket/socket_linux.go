package socket

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a socket's reading side does. One goroutine at a time has it.
const (
	resting int32 = iota // nobody reads; the next event starts
	reading              // somebody reads, or works on what was read
	pressed              // the same, and something arrived since: read again
	over                 // Ended was called
)

// Socket is a TCP connection outside of Go's network poller.
type Socket struct {
	// Static after take.
	handler Handler
	poller  *poller
	fd      int32
	// generation is that of Group.pick: events have it beside the descriptor.
	generation int32

	state atomic.Int32
	// behind: something may be there to be read behind a read that was short, the end of
	// the stream or what follows an urgent byte.
	behind atomic.Bool

	mu       sync.Mutex // guards the following
	released bool
	shut     bool
	timer    *time.Timer // of the deadline, made by the first
}

var _ Driver = (*Socket)(nil)

// take returns nil where conn is not plain TCP, or has no place in an epoll set.
func (g *Group) take(conn net.Conn, h Handler) *Socket {
	tcp := plain(conn)
	if tcp == nil {
		return nil
	}
	p, generation := g.pick()
	if p == nil {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	fd := -1
	err = raw.Control(func(from uintptr) {
		if v, err := unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			fd = v
			tuneFD(fd)
		}
	})
	if err != nil || fd < 0 {
		return nil
	}
	_ = tcp.Close() // frees what net and the runtime keep for it; the connection stays open by fd
	return &Socket{handler: h, poller: p, fd: int32(fd), generation: generation}
}

// plain is the TCP connection that conn is, or that it wraps and says can be used in its
// place, or nil.
func plain(conn net.Conn) *net.TCPConn {
	if wrapper, ok := conn.(interface{ Plain() net.Conn }); ok {
		conn = wrapper.Plain()
	}
	tcp, _ := conn.(*net.TCPConn)
	return tcp
}

// Begin implements Driver.
func (s *Socket) Begin() {
	err := s.poller.add(s)
	if err == nil || !s.state.CompareAndSwap(resting, over) {
		return
	}
	s.poller.group.noWatch.Do(func() {
		s.poller.group.log.Warn("the kernel refused to watch a connection, which is closed: fs.epoll.max_user_watches may be too low", slog.Any("err", err))
	})
	s.poller.group.spawn(func() { s.handler.Ended(err) })
}

// arrived reports whether the caller is to read.
func (s *Socket) arrived() bool {
	for {
		switch s.state.Load() {
		case resting:
			if s.state.CompareAndSwap(resting, reading) {
				return true
			}
		case reading:
			if s.state.CompareAndSwap(reading, pressed) {
				return false
			}
		default:
			return false
		}
	}
}

// rest reports whether the caller may stop reading; if not, more has arrived.
func (s *Socket) rest() bool {
	if s.state.CompareAndSwap(reading, resting) {
		return true
	}
	s.state.Store(reading)
	return false
}

// isAll reports whether a read of n bytes into so much room found all there was.
func (s *Socket) isAll(n, room int) bool { return n < room && !s.behind.Load() }

// rounds is how often the poller reads one socket before it looks at the others.
const rounds = 4

// drive reads on the poller's goroutine, and leaves to another one what may wait or
// takes long.
func (s *Socket) drive(buf []byte) {
	for range rounds {
		n, err := read(int(s.fd), buf)
		empty := errors.Is(err, unix.EAGAIN)
		switch {
		case empty:
		case err != nil:
			s.poller.group.spawn(func() { s.end(err) })
			return
		case s.handler.Receive(buf[:n]):
			s.poller.group.spawn(s.work)
			return
		}
		if (empty || s.isAll(n, len(buf))) && s.rest() {
			return
		}
	}
	s.poller.group.spawn(s.readOn)
}

// work does what the poller received, and reads on.
func (s *Socket) work() {
	s.handler.Work()
	s.readOn()
}

func (s *Socket) readOn() {
	for {
		buf := s.poller.group.buffer()
		n, err := read(int(s.fd), buf[:])
		work := err == nil && s.handler.Receive(buf[:n])
		s.poller.group.buffers.Put(buf) // before Work, which may take long
		empty := errors.Is(err, unix.EAGAIN)
		switch {
		case empty:
		case err != nil:
			s.end(err)
			return
		case work:
			s.handler.Work()
		}
		if (empty || s.isAll(n, readBuffer)) && s.rest() {
			return
		}
	}
}

func (s *Socket) end(err error) {
	s.state.Store(over)
	s.handler.Ended(err)
}

// read returns io.EOF at the peer's end and EAGAIN where nothing is there; n is
// never below 0.
func read(fd int, buf []byte) (n int, err error) {
	for {
		n, err = unix.Read(fd, buf)
		switch {
		case err == nil && n == 0:
			return 0, io.EOF
		case err == nil:
			return n, nil
		case !errors.Is(err, unix.EINTR):
			return 0, err
		}
	}
}

// TryWrite writes what the socket takes at once, in one system call. Where that is
// not all, Writable follows. It must not be called at the same time as Release.
//
// It makes the call past the scheduler: the socket never blocks, so there is nothing
// to be scheduled around, and handing the processor over and back costs as much as
// the write.
func (s *Socket) TryWrite(p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // the pointer is of p, which lives until after the call
	if errno == unix.EINTR {                                                                                                     // not after a part was written, and so rare that one more call is no loss
		return s.TryWrite(p)
	}
	if errno == 0 {
		return int(n), nil
	}
	if errno == unix.EAGAIN {
		return 0, nil
	}
	return 0, errno
}

// Close implements Driver. The descriptor stays ours until Release.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked()
	return nil
}

func (s *Socket) closeLocked() {
	if s.released || s.shut {
		return
	}
	s.shut = true
	_ = unix.Shutdown(int(s.fd), unix.SHUT_RDWR) // fails if the peer has reset it, which the poller is told too
}

// CloseWrite implements Driver.
func (s *Socket) CloseWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.released && !s.shut {
		_ = unix.Shutdown(int(s.fd), unix.SHUT_WR) // fails as above
	}
}

// SetDeadline implements Driver.
func (s *Socket) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.released || s.shut:
		return net.ErrClosed
	case s.timer == nil:
		s.timer = time.AfterFunc(time.Until(t), func() { _ = s.Close() })
	default:
		s.timer.Reset(time.Until(t))
	}
	return nil
}

// Unacked implements Driver.
func (s *Socket) Unacked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return 0
	}
	return unackedFD(int(s.fd))
}

// Release implements Driver.
func (s *Socket) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return
	}
	s.released = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.poller.group.sockets.remove(s)
	_ = unix.Close(int(s.fd)) // takes it out of the epoll set; there is nobody to tell of a failing close
}
