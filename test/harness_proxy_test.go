package test_test

import (
	"net"
	"sync"
	"testing"
)

// proxy stands between a node and its log, and can be a bad network.
type proxy struct {
	// Static.
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu       sync.Mutex // guards the following
	gate     chan struct{}
	held     bool // gate is not closed: nothing passes
	refusing bool // connections are reset as they come
	mute     bool // what the target says is dropped
	closed   bool
	ends     map[*net.TCPConn]chan struct{} // closed when the connection is reset
}

// startProxy forwards connections to the target.
func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, gate: make(chan struct{}), ends: map[*net.TCPConn]chan struct{}{}}
	close(p.gate)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		_ = l.Close()
		p.flow()
		p.reset()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

// hold lets nothing pass, either way; what is under way arrives after flow.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.held {
		p.held, p.gate = true, make(chan struct{})
	}
}

// refuse resets what there is and what comes.
func (p *proxy) refuse() {
	p.mu.Lock()
	p.refusing = true
	p.mu.Unlock()
	p.reset()
}

// silence drops what the target says; what it is told still arrives.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

func (p *proxy) isMute() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mute
}

// flow ends hold, refuse and silence.
func (p *proxy) flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing, p.mute = false, false
	if p.held {
		p.held = false
		close(p.gate)
	}
}

// reset cuts all connections, and with them what is under way. It returns how many.
func (p *proxy) reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.ends)
	for conn, end := range p.ends {
		p.dropLocked(conn, end)
	}
	return n / 2 // each has two ends
}

func (p *proxy) dropLocked(conn *net.TCPConn, end chan struct{}) {
	delete(p.ends, conn)
	close(end)
	_ = conn.SetLinger(0) // fails where it is closed already
	_ = conn.Close()
}

func (p *proxy) drop(conn *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if end, ok := p.ends[conn]; ok {
		p.dropLocked(conn, end)
	}
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		near := conn.(*net.TCPConn)
		if end := p.add(near); end != nil {
			p.wg.Go(func() { p.join(near, end) })
		}
	}
}

// add registers a connection; nil if it is refused.
func (p *proxy) add(conn *net.TCPConn) (end chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	end = make(chan struct{})
	p.ends[conn] = end
	if p.refusing || p.closed {
		p.dropLocked(conn, end)
		return nil
	}
	return end
}

// join connects near to the target and forwards both ways until either ends.
func (p *proxy) join(near *net.TCPConn, end <-chan struct{}) {
	defer p.drop(near)
	if !p.pass(end) {
		return
	}
	conn, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	far := conn.(*net.TCPConn)
	farEnd := p.add(far)
	if farEnd == nil {
		return
	}
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() {
		defer p.drop(far)
		defer p.drop(near)
		p.forward(far, near, end, false)
	})
	defer p.drop(far)
	p.forward(near, far, farEnd, true)
	p.drop(near)
}

// forward copies until either connection ends; back is towards who connected.
func (p *proxy) forward(to, from *net.TCPConn, end <-chan struct{}, back bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.pass(end) {
				return
			}
			if back && p.isMute() {
				continue
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until the gate is open; it is false if the connection was reset first.
func (p *proxy) pass(end <-chan struct{}) bool {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	select {
	case <-gate:
		return true
	case <-end:
		return false
	}
}
