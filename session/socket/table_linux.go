package socket

import (
	"slices"
	"sync"
	"sync/atomic"
)

// table finds sockets by their descriptor, without a lock: every event of every epoll
// set looks here. There is one for all sets, since it is as long as the highest
// descriptor.
type table struct {
	mu   sync.Mutex // held to replace what list points to
	list atomic.Pointer[[]*tablePart]
}

// tablePart is what the table grows by.
type tablePart [1024]atomic.Pointer[Socket]

// at is the place of a descriptor, nil if it has none yet.
func (t *table) at(fd int) *atomic.Pointer[Socket] {
	list := t.list.Load()
	if i := fd / len(tablePart{}); list != nil && i < len(*list) {
		return &(*list)[i][fd%len(tablePart{})]
	}
	return nil
}

// find returns the socket with this descriptor, nil if there is none.
func (t *table) find(fd int) *Socket {
	if p := t.at(fd); p != nil {
		return p.Load()
	}
	return nil
}

func (t *table) put(s *Socket) {
	p := t.at(int(s.fd))
	if p == nil {
		p = t.grow(int(s.fd))
	}
	p.Store(s)
}

// remove must come before the descriptor is closed, so that its next owner is not removed.
func (t *table) remove(s *Socket) {
	if p := t.at(int(s.fd)); p != nil {
		p.CompareAndSwap(s, nil)
	}
}

func (t *table) grow(fd int) *atomic.Pointer[Socket] {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*tablePart
	if old := t.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	for len(list) <= fd/len(tablePart{}) {
		list = append(list, new(tablePart))
	}
	t.list.Store(&list)
	return t.at(fd)
}
