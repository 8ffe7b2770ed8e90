package socket

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// pollers are the epoll sets of a group, made when the first connection is taken over.
type pollers struct {
	mu     sync.Mutex // guards the following
	closed bool
	failed bool // there is no epoll here, which does not change
	list   []*poller
	next   int
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

// pick returns an epoll set, nil where there is none to be had.
func (g *Group) pick() *poller {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.failed {
		return nil
	}
	if len(g.list) == 0 && !g.openLocked() {
		return nil
	}
	g.next++
	return g.list[g.next%len(g.list)]
}

func (g *Group) openLocked() bool {
	for range runtime.GOMAXPROCS(0) {
		p, err := newPoller()
		if err != nil {
			g.failed = len(g.list) == 0
			return !g.failed
		}
		g.list = append(g.list, p)
		g.spawn(p.run)
	}
	return true
}

// waitEvents is how many sockets one look at an epoll set may find ready.
const waitEvents = 256

// poller is one epoll set. It waits for events as a descriptor in the runtime's own
// epoll set does, so that no thread waits in a system call.
type poller struct {
	// Static after newPoller.
	fd   int
	file *os.File
	raw  syscall.RawConn
	done chan struct{} // closed when run has ended

	mu      sync.RWMutex // guards the following
	sockets []*Socket    // by descriptor

	// Owned by run.
	events []unix.EpollEvent
	count  int
	buf    [readBuffer]byte
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("socket: epoll: %w", err)
	}
	// os.NewFile hands a descriptor to the runtime only if it is non-blocking.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("socket: epoll: %w", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), events: make([]unix.EpollEvent, waitEvents)}
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
	p.mu.RLock()
	var s *Socket
	if int(ev.Fd) < len(p.sockets) {
		s = p.sockets[ev.Fd]
	}
	p.mu.RUnlock()
	if s == nil {
		return // released since
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		s.handler.Writable()
	}
	const end = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	if ev.Events&end != 0 {
		s.hungUp.Store(true)
	}
	if ev.Events&(unix.EPOLLIN|end) != 0 && s.arrived() {
		s.drive(p.buf[:])
	}
}

// add registers a socket once for its whole life. Edges suffice: a read that does
// not fill its buffer has found the end of what was there, unless the peer has hung
// up, and a write that is cut short makes the kernel tell when there is room.
func (p *poller) add(s *Socket) error {
	p.mu.Lock()
	for len(p.sockets) <= s.fd {
		p.sockets = append(p.sockets, nil)
	}
	p.sockets[s.fd] = s
	p.mu.Unlock()
	err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(s.fd),
	})
	if err != nil {
		return fmt.Errorf("socket: watch: %w", err)
	}
	return nil
}

func (p *poller) remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd < len(p.sockets) {
		p.sockets[fd] = nil
	}
}
