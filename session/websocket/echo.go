package websocket

import (
	"log/slog"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// maxEcho is the size limit of a message of the echo endpoint, in bytes.
const maxEcho = 32 << 20

// NewEcho returns a handler that sends every message back, through the same engine as
// New's: for conformance suites, which know nothing of commands. Its close codes are
// those of RFC 6455.
func NewEcho(registry *session.Registry, logger *slog.Logger) *Handler {
	h := newHandler(registry, logger, maxEcho)
	h.choices = []choice{h.offer("", echo{}, echo{deflate: true})}
	return h
}

// echo is a codec without events.
type echo struct{ deflate bool }

// Event implements session.Codec; the suite expects none.
func (echo) Event(*protocol.Event) []byte { return nil }

// Message implements session.Codec; nothing is subscribed.
func (echo) Message(*fanout.Message) []byte { return nil }

// Ping implements session.Codec.
func (echo) Ping(bool) []byte { return control(opPing, nil) }

// Close implements session.Codec.
func (echo) Close(code protocol.Code, reason string) []byte {
	if code == protocol.CloseTooLarge {
		code = protocol.CloseMessageTooBig
	}
	return closeFrame(code, reason)
}

func (e echo) receive(c *conn, kind int, frame []byte) {
	opcode := byte(opBinary)
	if kind == websocket.TextMessage {
		opcode = opText
		if !utf8.Valid(frame) {
			c.refuse(protocol.CloseInvalidText, "text is not UTF-8")
			return
		}
	}
	if e.deflate {
		c.Outbound().Push(deflateFrame(opcode, frame))
		return
	}
	c.Outbound().Push(build(opcode, len(frame), func(dst []byte) []byte { return append(dst, frame...) }))
}
