package socket

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// pollers are the epoll sets of a group, made when the first connection is taken over.
type pollers struct {
	sockets          table
	noEpoll, noWatch sync.Once // so that a full kernel does not fill the log

	mu     sync.Mutex // guards the following
	closed bool
	failed bool // this system has no epoll, or forbids it: that does not change
	list   []*poller
	taken  int32 // counts connections, and wraps around
}

// Close ends the epoll sets and waits for their goroutines. Every connection must
// have been released.
func (g *Group) Close() {
	g.mu.Lock()
	list := g.list
	g.closed, g.list = true, nil
	g.mu.Unlock()
	for _, p := range list {
		_ = p.file.Close() // ends its goroutine; there is nothing to lose
		<-p.done
	}
}

// pick returns an epoll set, nil where there is none to be had, and a number that
// tells the connection from others with the same descriptor.
func (g *Group) pick() (p *poller, generation int32) {
	g.mu.Lock()
	err := g.openLocked()
	if len(g.list) > 0 {
		g.taken++
		p, generation = g.list[uint32(g.taken)%uint32(len(g.list))], g.taken
	}
	g.mu.Unlock()
	if err != nil {
		g.noEpoll.Do(func() {
			g.log.Warn("there is no epoll set to be had: connections have a goroutine each", slog.Any("err", err))
		})
	}
	return p, generation
}

// openLocked sees to it that there are epoll sets: one at least, if that is possible.
func (g *Group) openLocked() error {
	if g.closed || g.failed || len(g.list) > 0 {
		return nil
	}
	for range runtime.GOMAXPROCS(0) {
		p, err := newPoller(g)
		switch {
		case err != nil && len(g.list) > 0:
			return nil // fewer do
		case err != nil:
			g.failed = errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)
			return err
		}
		g.list = append(g.list, p)
		g.spawn(p.run)
	}
	return nil
}

// waitEvents is how many sockets one look at an epoll set may find ready.
const waitEvents = 256

// poller is one epoll set. It waits for events as a descriptor in the runtime's own
// epoll set does, so that no thread waits in a system call.
type poller struct {
	// Static after newPoller.
	fd    int
	file  *os.File
	raw   syscall.RawConn
	done  chan struct{} // closed when run has ended
	group *Group

	// Owned by run.
	events []unix.EpollEvent
	count  int
	buf    [readBuffer]byte
}

func newPoller(g *Group) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("socket: epoll: %w", err)
	}
	// os.NewFile hands a descriptor to the runtime only if it is non-blocking.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("socket: epoll: %w", err)
	}
	p := &poller{
		fd: fd, file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), group: g,
		events: make([]unix.EpollEvent, waitEvents),
	}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("socket: epoll: %w", err)
	}
	return p, nil
}

func (p *poller) run() {
	defer close(p.done)
	for p.raw.Read(p.look) == nil { // fails when the file is closed
		for i := range p.events[:p.count] {
			p.ready(&p.events[i])
		}
	}
}

// look fetches what is ready and reports whether there is anything.
func (p *poller) look(uintptr) bool {
	n, err := unix.EpollWait(p.fd, p.events, 0)
	p.count = max(n, 0)
	// After an interruption there may be events whose edge the runtime has seen: look again.
	return n > 0 || errors.Is(err, unix.EINTR)
}

func (p *poller) ready(ev *unix.EpollEvent) {
	s := p.group.sockets.find(int(ev.Fd))
	if s == nil || s.generation != ev.Pad {
		return // released since; another one may have its descriptor
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		s.handler.Writable()
	}
	const end = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	if ev.Events&(end|unix.EPOLLPRI) != 0 {
		s.behind.Store(true)
	}
	if ev.Events&(unix.EPOLLIN|unix.EPOLLPRI|end) != 0 && s.arrived() {
		s.drive(p.buf[:])
	}
}

// add registers a socket once for its whole life. Edges suffice: a read that does
// not fill its buffer has found the end of what was there, unless the peer has hung
// up or marked a byte as urgent (a read ends there, and the kernel tells of the
// mark), and a write that is cut short makes the kernel tell when there is room.
func (p *poller) add(s *Socket) error {
	p.group.sockets.put(s)
	err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, int(s.fd), &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: s.fd, Pad: s.generation,
	})
	if err != nil {
		return fmt.Errorf("socket: watch: %w", err)
	}
	return nil
}
