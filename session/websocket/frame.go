package websocket

import (
	"encoding/binary"
	"strings"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// Opcodes with the FIN bit: the node's frames are never fragmented.
const (
	opText  = 0x80 | 0x1
	opClose = 0x80 | 0x8
	opPing  = 0x80 | 0x9
	opPong  = 0x80 | 0xa
)

const (
	// maxHeader is the longest header of an unmasked frame.
	maxHeader = 10
	// maxControl is the longest payload of a control frame (RFC 6455 section 5.5).
	maxControl = 125
)

// build makes one frame of what encode appends. The payload is written behind
// room for the longest header, which is then put right before it.
func build(opcode byte, size int, encode func(dst []byte) []byte) []byte {
	b := encode(make([]byte, maxHeader, maxHeader+size))
	n := len(b) - maxHeader
	switch {
	case n < 126:
		b = b[8:]
		b[1] = byte(n)
	case n <= 0xffff:
		b = b[6:]
		b[1] = 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
	default:
		b[1] = 127
		binary.BigEndian.PutUint64(b[2:], uint64(n))
	}
	b[0] = opcode
	return b
}

// control makes a control frame; a payload over maxControl is cut.
func control(opcode byte, payload []byte) []byte {
	payload = payload[:min(len(payload), maxControl)]
	return append([]byte{opcode, byte(len(payload))}, payload...)
}

// closeFrame makes a close frame; code 0 has no payload.
func closeFrame(code protocol.Code, reason string) []byte {
	if code == 0 {
		return control(opClose, nil)
	}
	if len(reason) > maxControl-2 {
		reason = strings.ToValidUTF8(reason[:maxControl-2], "")
	}
	return control(opClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

// jsonCodec is the subprotocol rivulet.v1.json.
type jsonCodec struct{ json protocol.JSON }

var _ session.Codec = jsonCodec{}

// eventSize and messageSize are what most frames need beside the data.
const (
	eventSize   = 224
	messageSize = 224
)

func (c jsonCodec) Event(ev *protocol.Event) []byte {
	return build(opText, eventSize, func(dst []byte) []byte { return c.json.AppendEvent(dst, ev) })
}

func (c jsonCodec) Message(m *fanout.Message) []byte {
	return m.Frame(session.SlotWebSocketJSON, c.encode)
}

func (c jsonCodec) encode(m *fanout.Message) []byte {
	ev := session.MessageEvent(m)
	return build(opText, messageSize+len(m.Data), func(dst []byte) []byte { return c.json.AppendMessageEvent(dst, &ev) })
}

// Ping is a WebSocket ping, which every library answers; a browser's page cannot
// see it, and gets an event as well.
func (c jsonCodec) Ping(browser bool) []byte {
	frame := control(opPing, nil)
	if browser {
		frame = append(frame, c.Event(&protocol.Event{Ping: &protocol.Ping{}})...)
	}
	return frame
}

func (jsonCodec) Close(code protocol.Code, reason string) []byte { return closeFrame(code, reason) }
