//go:build linux

package raw

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Handler is what a connection belongs to. The loop calls it.
type Handler interface {
	// Data takes what was received and returns how many bytes of it are used up; the
	// rest comes again with what follows. b is valid during the call only.
	Data(c *Conn, b []byte) (used int)
	// Closed says that the peer closed the connection or that it failed. It does not
	// follow Close.
	Closed(c *Conn, err error)
}

const (
	readBuffer = 256 << 10 // bytes, one for all connections
	waitEvents = 1024
	// glance is how often Run looks at its condition and its context while nothing happens.
	glance = 20 * time.Millisecond
)

// Loop drives many sockets and one timer. All its methods, and those of its
// connections, belong to one goroutine at a time, the one that calls Run.
type Loop struct {
	epoll, timer int
	conns        []*Conn // by file descriptor
	buf          []byte
	events       []unix.EpollEvent
	tick         func()
	closed       bool
}

// NewLoop returns an empty loop. Close it.
func NewLoop() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("raw: epoll: %w", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(timer)})
	}
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("raw: timer: %w", err)
	}
	return &Loop{
		epoll: epoll, timer: timer,
		buf: make([]byte, readBuffer), events: make([]unix.EpollEvent, waitEvents),
	}, nil
}

// Close cuts all connections. A second Close does nothing.
func (l *Loop) Close() {
	if l.closed {
		return
	}
	l.closed = true
	for _, c := range l.conns {
		if c != nil {
			c.Cut()
		}
	}
	_ = unix.Close(l.timer) // there is nobody to tell of a failing close
	_ = unix.Close(l.epoll)
}

// At calls tick at a time, once; a later At replaces it.
func (l *Loop) At(at time.Time, tick func()) error {
	l.tick = tick
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(at.UnixNano())}
	if err := unix.TimerfdSettime(l.timer, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		return fmt.Errorf("raw: set the timer: %w", err)
	}
	return nil
}

// Run serves the connections until done returns true, which it is asked after
// every round of events. It returns ctx's error when ctx ends before.
func (l *Loop) Run(ctx context.Context, done func() bool) error {
	for !done() {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := unix.EpollWait(l.epoll, l.events, int(glance/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("raw: epoll wait: %w", err)
		}
		for _, ev := range l.events[:max(n, 0)] {
			switch {
			case ev.Fd == int32(l.timer):
				l.expired()
			case int(ev.Fd) < len(l.conns) && l.conns[ev.Fd] != nil:
				l.conns[ev.Fd].ready(ev.Events)
			}
		}
	}
	return nil
}

func (l *Loop) expired() {
	var count [8]byte
	if _, err := unix.Read(l.timer, count[:]); err == nil {
		l.tick()
	}
}

// Conn is one TCP connection.
type Conn struct {
	loop      *Loop
	handler   Handler
	fd        int
	connected bool
	in, out   []byte // received and not used up; to be sent
}

// gone reports whether the connection has ended.
func (c *Conn) gone() bool { return c.loop.conns[c.fd] != c }

// Cut ends the connection as a lost network does: what is under way is lost, and
// the peer gets a reset. A second Cut does nothing.
func (c *Conn) Cut() {
	if c.gone() {
		return
	}
	c.loop.conns[c.fd] = nil
	// Only an invalid descriptor makes these fail, and this one is ours.
	_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(c.fd)
}

// Write sends b, at once or when there is room.
func (c *Conn) Write(b []byte) {
	if c.gone() {
		return
	}
	if !c.connected || len(c.out) > 0 {
		c.out = append(c.out, b...)
		return
	}
	n, err := unix.Write(c.fd, b)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		c.fail(err)
		return
	}
	if rest := b[max(n, 0):]; len(rest) > 0 {
		c.out = append(c.out, rest...)
	}
}

func (c *Conn) fail(err error) {
	if c.gone() {
		return
	}
	c.Cut()
	c.handler.Closed(c, err)
}

func (c *Conn) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 && (!c.connected || len(c.out) > 0) {
		c.writable()
	}
	const end = unix.EPOLLRDHUP | unix.EPOLLERR | unix.EPOLLHUP
	if events&(unix.EPOLLIN|end) != 0 {
		// A read that does not fill the buffer has found all there is, but for the stream's
		// end, which is behind it.
		again := 0
		if events&end != 0 {
			again = 2
		}
		for !c.gone() && (c.read() || again > 0) {
			again--
		}
	}
}

func (c *Conn) writable() {
	if !c.connected {
		if errno, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
			c.fail(errors.Join(err, unix.Errno(errno)))
			return
		}
		c.connected = true
	}
	out := c.out
	c.out = nil
	c.Write(out)
}

// read takes what is there and reports whether there may be more.
func (c *Conn) read() bool {
	buf := c.loop.buf
	n, err := unix.Read(c.fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return false
	case errors.Is(err, unix.EINTR):
		return true
	case err != nil:
		c.fail(err)
		return false
	case n == 0:
		c.fail(io.EOF)
		return false
	}
	b := buf[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, b...)
		b = c.in
	}
	rest := b[c.handler.Data(c, b):]
	if len(rest) == 0 {
		c.in = nil
	} else {
		c.in = append([]byte(nil), rest...)
	}
	return n == len(buf)
}
