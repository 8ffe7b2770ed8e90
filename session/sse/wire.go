package sse

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// flushWire writes through net/http, which keeps the connection: HTTP/2, and
// servers that do not give it away.
type flushWire struct {
	// Static after newFlushWire.
	w      http.ResponseWriter
	rc     *http.ResponseController
	closed chan struct{}

	mu      sync.Mutex // guards the following, and the writer's life
	over    bool       // closed, or the handler has returned
	writing bool
}

func newFlushWire(w http.ResponseWriter) *flushWire {
	return &flushWire{w: w, rc: http.NewResponseController(w), closed: make(chan struct{})}
}

// Write writes and flushes. The handler returns only after the last Write.
func (f *flushWire) Write(p []byte) (int, error) {
	if !f.enter() {
		return 0, net.ErrClosed
	}
	defer f.leave()
	n, err := f.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.rc.Flush()
}

func (f *flushWire) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writing = !f.over
	return f.writing
}

func (f *flushWire) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writing = false
}

// SetDeadline does nothing once the wire is closed: the writer may be gone.
func (f *flushWire) SetDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return net.ErrClosed
	}
	return f.rc.SetWriteDeadline(t)
}

// Close ends a Write that blocks, and tells the handler.
func (f *flushWire) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return net.ErrClosed
	}
	f.over = true
	close(f.closed)
	if !f.writing {
		return nil // a stream that has come to its end is not to be reset
	}
	return f.rc.SetWriteDeadline(time.Now())
}
