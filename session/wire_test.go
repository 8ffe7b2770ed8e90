package session_test

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// memoryWire records what is written; gate, if not nil, must be sent to before each write.
type memoryWire struct {
	gate     chan struct{}
	closed   chan struct{}
	once     sync.Once
	mu       sync.Mutex // guards the following
	writes   [][]byte
	deadline time.Time
}

func newWire(gated bool) *memoryWire {
	w := &memoryWire{closed: make(chan struct{})}
	if gated {
		w.gate = make(chan struct{})
	}
	return w
}

func (w *memoryWire) Write(p []byte) (int, error) {
	if w.gate != nil {
		select {
		case <-w.gate:
		case <-w.closed:
			return 0, net.ErrClosed
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, bytes.Clone(p))
	return len(p), nil
}

func (w *memoryWire) SetDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	return nil
}

func (w *memoryWire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *memoryWire) all() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Join(w.writes, nil)
}

func (w *memoryWire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.writes)
}
