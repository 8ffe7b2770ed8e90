package broker

import (
	"context"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/migrations"
)

// What the first byte of a piece says.
const (
	pieceMore = '+' // more follow
	pieceLast = '.'
)

// askCall gathers the answers of several nodes to one question.
type askCall struct {
	take func(node string, piece []byte)
	done chan struct{} // closed when all have answered, or the connection was lost

	mu      sync.Mutex // guards the following; held while take is called
	open    []string   // nodes that have not answered to the end
	ended   bool
	failure error
}

func (a *askCall) reply(m *nats.Msg) (last bool) {
	node, piece, ok := sender(m.Data)
	if !ok || len(piece) == 0 {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return true
	}
	a.take(node, piece[1:])
	if piece[0] == pieceLast {
		a.open = slices.DeleteFunc(a.open, func(n string) bool { return n == node })
		if len(a.open) == 0 {
			a.endLocked(nil)
		}
	}
	return a.ended
}

func (a *askCall) fail() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endLocked(errNoAnswer)
}

func (a *askCall) endLocked(err error) {
	if !a.ended {
		a.ended, a.failure = true, err
		close(a.done)
	}
}

// end makes the call take nothing more, and returns who has not answered.
func (a *askCall) end() (open []string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endLocked(nil)
	return a.open, a.failure
}

// Ask implements fanout.Bus: the nodes that are known to be alive are waited for, until
// ctx ends. They are told how long that is, and drop a question that is older. A node
// that is alone asks nobody. The error wraps fanout.ErrUnavailable.
func (c *Control) Ask(ctx context.Context, topic string, question []byte, take func(node string, piece []byte)) (missing []string, err error) {
	if c.mux == nil { // alone, or not started
		return nil, nil
	}
	others := c.others()
	if len(others) == 0 && c.link.nc.IsConnected() {
		return nil, nil
	}
	a := &askCall{take: take, done: make(chan struct{}), open: others}
	id, reply := c.mux.add(a)
	defer c.mux.remove(id)
	m := &nats.Msg{Subject: migrations.ControlAsk + topic, Reply: reply, Data: signed(c.b.cfg.Node, question)}
	tellWait(ctx, m)
	if err := c.link.nc.PublishMsg(m); err != nil {
		return others, unavailable("ask other nodes", err)
	}
	select {
	case <-a.done:
	case <-ctx.Done():
	}
	missing, err = a.end()
	if len(missing) > 0 {
		c.b.met.silent.Inc()
	}
	if err != nil {
		return missing, unavailable("ask other nodes", err)
	}
	return missing, nil
}
