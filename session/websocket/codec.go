package websocket

import (
	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// wireCodec is what a connection speaks.
type wireCodec interface {
	session.Codec
	// receive takes one message of the client; frame is valid during the call only.
	receive(c *conn, kind int, frame []byte)
}

// wire is one of the codecs of package protocol.
type wire interface {
	Subprotocol() string
	DecodeCommand(frame []byte) (protocol.Command, error)
	AppendEvent(dst []byte, e *protocol.Event) []byte
	AppendMessageEvent(dst []byte, m *protocol.MessageEvent) []byte
}

// codec is a subprotocol. It is shared by all connections that speak it.
type codec struct {
	wire   wire
	opcode byte // of its frames
	slot   int  // of fanout.Message.Frame
	encode func(*fanout.Message) []byte
}

var _ wireCodec = (*codec)(nil)

func newCodec(w wire, opcode byte, slot int) *codec {
	c := &codec{wire: w, opcode: opcode, slot: slot}
	c.encode = c.messageFrame // made once, so that a delivery allocates nothing
	return c
}

// eventSize and messageSize are what most frames need beside the data.
const (
	eventSize   = 224
	messageSize = 224
)

// Event implements session.Codec.
func (c *codec) Event(ev *protocol.Event) []byte {
	return build(c.opcode, eventSize, func(dst []byte) []byte { return c.wire.AppendEvent(dst, ev) })
}

// Message implements session.Codec.
func (c *codec) Message(m *fanout.Message) []byte { return m.Frame(c.slot, c.encode) }

func (c *codec) messageFrame(m *fanout.Message) []byte {
	return build(c.opcode, messageSize+len(m.Data), func(dst []byte) []byte { return c.payload(dst, m) })
}

func (c *codec) payload(dst []byte, m *fanout.Message) []byte {
	ev := session.MessageEvent(m)
	return c.wire.AppendMessageEvent(dst, &ev)
}

// Ping is a WebSocket ping, which every library answers; a browser's page cannot
// see it, and gets an event as well.
func (c *codec) Ping(browser bool) []byte {
	frame := control(opPing, nil)
	if browser {
		frame = append(frame, c.Event(&protocol.Event{Ping: &protocol.Ping{}})...)
	}
	return frame
}

// Close implements session.Codec.
func (*codec) Close(code protocol.Code, reason string) []byte { return closeFrame(code, reason) }

func (c *codec) receive(on *conn, kind int, frame []byte) {
	text := c.opcode == opText
	switch {
	case text && kind != websocket.TextMessage:
		on.Reject(protocol.CloseBadFrame, "binary frames are not of "+c.wire.Subprotocol()+"; send text")
	case !text && kind != websocket.BinaryMessage:
		on.Reject(protocol.CloseBadFrame, "text frames are not of "+c.wire.Subprotocol()+"; send binary")
	default:
		on.command(frame, c.wire.DecodeCommand, text)
	}
}
