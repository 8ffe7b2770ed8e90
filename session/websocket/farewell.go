package websocket

import (
	"sync/atomic"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// farewell is how a connection ends, once its final frame is out. It has these bits.
type farewell struct{ bits atomic.Uint32 }

const (
	// hangUp: the client's close frame came, or it broke the rules and may still be sending.
	// Otherwise its close frame is to come, or its end.
	hangUp uint32 = 1 << iota
	// farewellOut: the final frame is.
	farewellOut
)

// answer closes as the client asked.
func (c *conn) answer(final []byte) {
	c.stopReading()
	c.Leave(final)
	c.hangUp()
}

// refuse closes because of what the client sent, and reads nothing of what follows.
func (c *conn) refuse(code protocol.Code, detail string) {
	c.stopReading()
	c.Reject(code, detail)
	c.hangUp()
}

// stopReading lets go of what is unfinished, whose time does not count any more.
func (c *conn) stopReading() {
	c.deaf, c.gate = true, gate{}
	c.Receiving(0)
}

// hangUp has the node close first, when the final frame is out.
func (c *conn) hangUp() {
	if c.bye.bits.Or(hangUp)&farewellOut != 0 {
		c.part(true)
	}
}

// Finished implements session.Owner.
func (c *conn) Finished() { c.part(c.bye.bits.Or(farewellOut)&hangUp != 0) }

// part ends the connection, now or before long. It may be called twice.
func (c *conn) part(hangsUp bool) {
	driver := c.driver()
	if hangsUp {
		// The node closes first (RFC 6455 section 7.1.1), but for writing alone: closing a
		// socket with unread bytes in it would make the kernel discard what the peer has
		// not read yet.
		driver.CloseWrite()
	}
	_ = driver.SetDeadline(time.Now().Add(c.speech.handler.registry.Config().CloseTimeout)) // fails only if closed
}
