package websocket

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/socket"
)

// conn is one connection: the reading side of a session. While the client sends
// nothing it has no goroutine and holds no buffer, but where the driver does.
type conn struct {
	session.Session

	speech *speech // static after start

	// Owned by the reading side.
	gate    gate
	ready   *passed // what Work is to do; nil while nothing is
	dropped int32   // bytes, since it is deaf

	bye farewell

	// Owned by the reading side.
	inline bool // it may not wait
	deaf   bool // nothing more is read: the client closed, or broke the rules
}

// speech is what the handshake has agreed on, shared by all connections of its kind.
type speech struct {
	handler *Handler
	codec   wireCodec
	parsers *parsers
}

var (
	_ socket.Handler = (*conn)(nil)
	_ session.Owner  = (*conn)(nil)
)

func (h *Handler) start(network net.Conn, speaks *speech, shake session.Handshake) {
	c := &conn{speech: speaks}
	c.Init(h.registry, speaks.codec, shake, c)
	driver := h.registry.Attach(network, c)
	c.Outbound().Start(driver, nil)
	c.Slot().Enter(c)
	c.Begin(shake)
	driver.Begin()
}

// driver is the wire, from start on.
func (c *conn) driver() socket.Driver {
	d, _ := c.Outbound().Wire().(socket.Driver)
	return d
}

// Receive implements socket.Handler. Control frames are answered here; commands may
// have to wait, and are left to Work.
func (c *conn) Receive(p []byte) (work bool) {
	now := time.Now()
	c.Heard(now)
	if c.deaf {
		if c.dropped += int32(len(p)); c.dropped > lingerBytes {
			_ = c.driver().Close()
		}
		return false
	}
	was := c.gate.held != nil
	out := c.gate.take(p, rules{limit: int(c.speech.parsers.limit), deflate: c.speech.parsers.deflate})
	switch {
	case c.gate.held == nil && was:
		c.Receiving(0)
	case c.gate.held != nil && (!was || out.messages > 0 || len(out.frames) > 0 && c.gate.held.whole == 0):
		c.Receiving(now.UnixNano())
	}
	switch {
	case len(out.frames) == 0 && !out.flood && !out.broken:
		return false
	case out.messages == 0 && c.Outbound().HasRoom():
		c.inline = true
		c.read(out)
		c.inline = false
		return false
	}
	if out.shared {
		out.frames = bytes.Clone(out.frames)
	}
	left := out // here alone, so that nothing is allocated for what is done at once
	c.ready = &left
	return true
}

// Work implements socket.Handler. Nothing is read meanwhile, so a message that was
// begun cannot end: the time does not count.
func (c *conn) Work() {
	out := *c.ready
	c.ready = nil
	now, begun := time.Now(), c.Receiving(0)
	c.read(out)
	if begun != 0 && !c.deaf {
		c.Receiving(begun + int64(time.Since(now)))
	}
}

// Writable implements socket.Handler.
func (c *conn) Writable() { c.Outbound().Writable() }

// Ended implements socket.Handler.
func (c *conn) Ended(error) {
	c.End()
	c.driver().Release() // before its place is given to another, and a drain goes on
	c.Slot().Leave(c)
}

func (c *conn) read(out passed) {
	p, err := c.speech.parsers.get()
	if err != nil {
		c.Disconnect(protocol.DisconnectEvent{Code: protocol.CloseInternal, Reason: protocol.CloseInternal.Reason(), Reconnect: true})
		return
	}
	if err = p.read(c, out); err == nil {
		c.speech.parsers.pool.Put(p)
	}
	switch {
	case err != nil:
		c.leave(err)
	case out.flood:
		c.refuse(protocol.CloseTooLarge, "a message has too many fragments")
	}
}

// ping answers a ping, in order with everything else. A client that sends pings
// and reads nothing is not read either.
func (c *conn) ping(payload string) error {
	if !c.Frame() {
		return c.flood()
	}
	if c.inline || c.Outbound().WaitRoom() {
		c.Outbound().Push(control(opPong, []byte(payload)))
	}
	return nil
}

// pong takes a pong, which says nothing but that the client lives.
func (c *conn) pong() error {
	c.Frame()
	return c.flood()
}

// errFlood: the client sent far too much, and was told.
var errFlood = errors.New("websocket: the client does not slow down")

func (c *conn) flood() error {
	if c.Flooded() {
		return errFlood
	}
	return nil
}

// message takes one message. While the connection is closing, what still comes is
// read and dropped, up to the client's close frame.
func (c *conn) message(kind int, r io.Reader, compressed bool) error {
	h, most := c.speech.handler, c.speech.parsers.limit
	buf := h.buffer()
	defer h.keep(buf)
	_, err := buf.ReadFrom(r) // the parser counts it
	if err == nil && compressed {
		packed := buf
		buf = h.buffer()
		defer h.keep(buf)
		err = h.inflate(buf, packed, most)
	}
	switch {
	case err != nil:
		return err
	case int64(buf.Len()) > most:
		return websocket.ErrReadLimit
	case c.Outbound().WaitRoom():
		c.speech.codec.receive(c, kind, buf.Bytes())
	}
	return c.flood()
}

// command does what a message of a codec's kind asks for.
func (c *conn) command(frame []byte, decode func([]byte) (protocol.Command, error), text bool) {
	cmd, err := decode(frame)
	if err != nil && !c.Frame() {
		return
	}
	switch {
	case err == nil:
		c.Handle(c.speech.handler.registry.Context(), &cmd)
	case text && !utf8.Valid(frame):
		c.Reject(protocol.CloseInvalidText, "")
	default:
		c.Refuse(cmd.ID, err)
	}
}

// leave ends the connection as the parser's error says: it answers a close frame,
// and tells a client that broke the rules which.
func (c *conn) leave(err error) {
	closed, ok := errors.AsType[*websocket.CloseError](err)
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	switch {
	case errors.Is(err, errFlood):
		c.stopReading()
		c.dropped = lingerBytes - floodBytes
		c.hangUp()
	case ok && closed.Code == websocket.CloseNoStatusReceived:
		c.answer(closeFrame(0, ""))
	case ok:
		c.answer(closeFrame(protocol.Code(closed.Code), ""))
	case errors.Is(err, websocket.ErrReadLimit):
		c.refuse(protocol.CloseTooLarge, fmt.Sprintf("a command is over %d bytes", c.speech.parsers.limit))
	case corrupt || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errStreams):
		c.refuse(protocol.CloseInvalidText, "the compressed data is not valid")
	default:
		c.refuse(protocol.CloseProtocolError, err.Error())
	}
}

// lingerBytes bounds what is read and dropped of a client that broke the rules.
const lingerBytes = 16 << 20

// floodBytes is that of one that sent far too much.
const floodBytes = 256 << 10
