package broker

import (
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// call awaits the answers to one request. Its methods must not block. reply is
// called by one goroutine at a time, but fail may come at the same moment: what
// ends the call first counts.
type call interface {
	// reply takes one answer and reports whether it was the last.
	reply(m *nats.Msg) (last bool)
	// fail says that the connection was lost and no answer will come.
	fail()
}

// mux matches answers on one wildcard inbox to the requests of a link. A stored
// message is acknowledged, and a batch read, without a subscription of its own.
type mux struct {
	link   *link
	prefix string
	sub    *nats.Subscription

	mu    sync.Mutex // guards the following
	next  uint64
	calls map[uint64]entry
}

type entry struct {
	call
	dial uint64 // of the link, before the request was sent
}

// newMux subscribes on a connected link. Requests lost with the connection fail
// at once.
func newMux(l *link) (*mux, error) {
	m := &mux{link: l, prefix: nats.NewInbox() + ".", calls: map[uint64]entry{}}
	sub, err := l.nc.Subscribe(m.prefix+"*", m.deliver)
	if err != nil {
		return nil, err
	}
	// What can arrive is bounded by the requests under way.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	m.sub = sub
	l.mux.Store(m)
	return m, nil
}

// add registers a call and returns the reply subject for its request.
func (m *mux) add(c call) (id uint64, reply string) {
	dial := m.link.dials.Load()
	m.mu.Lock()
	m.next++
	id = m.next
	m.calls[id] = entry{call: c, dial: dial}
	m.mu.Unlock()
	b := make([]byte, 0, len(m.prefix)+8)
	return id, string(strconv.AppendUint(append(b, m.prefix...), id, 36))
}

// remove gives up on a call, whose last answer may be being delivered.
func (m *mux) remove(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.calls, id)
}

func (m *mux) deliver(msg *nats.Msg) {
	id, err := strconv.ParseUint(msg.Subject[len(m.prefix):], 36, 64)
	if err != nil {
		return
	}
	m.mu.Lock()
	e, open := m.calls[id]
	m.mu.Unlock()
	if open && e.reply(msg) {
		m.remove(id)
	}
}

// lost fails the calls whose request went over a connection that is gone. It is
// called when a connection was lost and again when the next one stands; a call
// that was just sent over the new one may be failed with them, which says no
// more than that its outcome is unknown.
func (m *mux) lost(nc *nats.Conn) {
	dial := m.link.dials.Load()
	if nc.IsConnected() {
		dial--
	}
	var gone []entry
	m.mu.Lock()
	for id, e := range m.calls {
		if e.dial <= dial {
			gone = append(gone, e)
			delete(m.calls, id)
		}
	}
	m.mu.Unlock()
	for _, e := range gone {
		e.fail()
	}
}
