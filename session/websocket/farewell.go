package websocket

import (
	"sync"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// farewell is how a connection ends, once its final frame is out.
type farewell struct {
	mu   sync.Mutex // guards the following
	kind ending
	out  bool // the final frame is
}

type ending uint8

const (
	awaitClose ending = iota // the client's close frame is to come, or its end
	hangUp                   // it came, or the client broke the rules, and may still be sending
)

// answer closes as the client asked.
func (c *conn) answer(final []byte) {
	c.stopReading()
	c.Leave(final)
	c.endAs(hangUp)
}

// refuse closes because of what the client sent, and reads nothing of what follows.
func (c *conn) refuse(code protocol.Code, detail string) {
	c.stopReading()
	c.Reject(code, detail)
	c.endAs(hangUp)
}

// stopReading lets go of what is unfinished, whose time does not count any more.
func (c *conn) stopReading() {
	c.deaf, c.gate = true, gate{}
	c.Receiving(0)
}

func (c *conn) endAs(kind ending) {
	c.bye.mu.Lock()
	c.bye.kind = kind
	out := c.bye.out
	c.bye.mu.Unlock()
	if out {
		c.part(kind)
	}
}

// Finished implements session.Owner.
func (c *conn) Finished() {
	c.bye.mu.Lock()
	c.bye.out = true
	kind := c.bye.kind
	c.bye.mu.Unlock()
	c.part(kind)
}

// part ends the connection, now or before long. It may be called twice.
func (c *conn) part(kind ending) {
	if kind == hangUp {
		// The node closes first (RFC 6455 section 7.1.1), but for writing alone: closing a
		// socket with unread bytes in it would make the kernel discard what the peer has
		// not read yet.
		c.driver.CloseWrite()
	}
	_ = c.driver.SetDeadline(time.Now().Add(c.handler.registry.Config().CloseTimeout)) // fails only if closed
}
