package websocket

import (
	"encoding/binary"
	"strings"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Opcodes with the FIN bit: the node's frames are never fragmented.
const (
	opText   = 0x80 | 0x1
	opBinary = 0x80 | 0x2
	opClose  = 0x80 | 0x8
	opPing   = 0x80 | 0x9
	opPong   = 0x80 | 0xa
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
