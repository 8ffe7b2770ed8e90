package websocket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// guardedConn is the connection as gorilla has it. From the upgrade on, gorilla
// may only read: what it would write by itself (close frames after a protocol
// error, which no handler catches) is dropped, for the session sends its own, and
// its write deadlines would cut the outbound buffer's writes.
type guardedConn struct {
	net.Conn
	heard    func(time.Time)
	upgraded bool // set before the reading goroutine starts
}

func (g *guardedConn) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if n > 0 && g.heard != nil {
		g.heard(time.Now())
	}
	return n, err
}

func (g *guardedConn) Write(p []byte) (int, error) {
	if g.upgraded {
		return len(p), nil
	}
	return g.Conn.Write(p)
}

func (g *guardedConn) SetWriteDeadline(t time.Time) error {
	if g.upgraded {
		return nil
	}
	return g.Conn.SetWriteDeadline(t)
}

// wire is the connection as the outbound buffer has it.
type wire struct {
	net.Conn
	*session.Direct
}

// Unacked is how much the peer has not acknowledged.
func (w wire) Unacked() int { return session.Unacked(w.Conn) }

// conn is one connection: the reading side of a session.
type conn struct {
	handler *Handler
	session *session.Session
	codec   jsonCodec
	ws      *websocket.Conn
	net     net.Conn
}

func (h *Handler) start(slot *session.Slot, ws *websocket.Conn, guard *guardedConn, shake session.Handshake) {
	c := &conn{handler: h, ws: ws, net: guard.Conn}
	c.session = h.registry.New(c.codec, shake, c.ended)
	session.Tune(c.net)
	guard.heard, guard.upgraded = c.session.Heard, true
	ws.SetReadLimit(int64(h.registry.Config().MaxFrame))
	ws.SetPingHandler(c.pong)
	ws.SetCloseHandler(func(int, string) error { return nil }) // answered at the read's error
	c.session.Outbound().Start(wire{c.net, session.NewDirect(c.net)}, nil)
	slot.Go(c.session, c.serve)
}

// ended: the last frame is out, so the peer's close frame is awaited, but not for
// ever; or a write failed, and the closed connection has ended the reading too.
func (c *conn) ended(err error) {
	if err == nil {
		c.limitRead()
	}
}

func (c *conn) limitRead() {
	_ = c.net.SetReadDeadline(time.Now().Add(c.handler.registry.Config().CloseTimeout)) // fails only if closed
}

// pong answers a ping, in order with everything else. A client that sends pings
// and reads nothing is not read either.
func (c *conn) pong(payload string) error {
	if c.session.Outbound().WaitRoom() {
		c.session.Outbound().Push(control(opPong, []byte(payload)))
	}
	return nil
}

// serve reads until the connection ends.
func (c *conn) serve(ctx context.Context) {
	err := c.read(ctx)
	c.leave(err)
	c.session.End()
}

func (c *conn) read(ctx context.Context) error {
	for {
		// While it is closing, what still comes is read and dropped, up to the peer's
		// close frame.
		open := c.session.Outbound().WaitRoom()
		kind, r, err := c.ws.NextReader()
		if err != nil {
			return err
		}
		switch {
		case !open:
			_, err = io.Copy(io.Discard, r)
		case kind != websocket.TextMessage:
			c.session.Reject(protocol.CloseBadFrame, "binary frames are not of "+protocol.SubprotocolJSON+"; send text")
		default:
			err = c.command(ctx, r)
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) command(ctx context.Context, r io.Reader) error {
	buf, ok := c.handler.frames.Get().(*bytes.Buffer)
	if !ok {
		buf = new(bytes.Buffer)
	}
	buf.Reset()
	defer c.handler.frames.Put(buf)
	if _, err := buf.ReadFrom(r); err != nil {
		return err
	}
	cmd, err := c.codec.json.DecodeCommand(buf.Bytes())
	switch {
	case err == nil:
		c.session.Handle(ctx, &cmd)
	case !utf8.Valid(buf.Bytes()):
		c.session.Reject(protocol.CloseInvalidText, "")
	default:
		c.session.Refuse(cmd.ID, err)
	}
	return nil
}

// leave ends the connection as the read's error says: it answers a close frame,
// and tells a client that broke the rules which. The reader is of no use then.
func (c *conn) leave(err error) {
	closed, ok := errors.AsType[*websocket.CloseError](err)
	switch {
	case broken(err) || ok && closed.Code == websocket.CloseAbnormalClosure:
		c.session.Abort()
	case ok && closed.Code == websocket.CloseNoStatusReceived:
		c.session.Leave(closeFrame(0, ""))
	case ok:
		c.session.Leave(closeFrame(protocol.Code(closed.Code), ""))
	case errors.Is(err, websocket.ErrReadLimit):
		c.session.Reject(protocol.CloseTooLarge, fmt.Sprintf("frame is over %d bytes", c.handler.registry.Config().MaxFrame))
		c.linger()
	default:
		c.session.Reject(protocol.CloseProtocolError, err.Error())
		c.linger()
	}
}

// broken reports whether the connection broke off or was closed on this side.
func broken(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

// lingerBytes bounds what is read and dropped of a client that broke the rules.
const lingerBytes = 16 << 20

// linger lets the last frames arrive: closing a socket with unread bytes in it
// would make the kernel discard what the peer has not read yet.
func (c *conn) linger() {
	c.session.Outbound().Wait()
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // fails only if closed
	}
	c.limitRead()
	_, _ = io.CopyN(io.Discard, c.net, lingerBytes) // whatever ends it, the connection is closed next
}
