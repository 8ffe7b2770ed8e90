package wire

import (
	"crypto/subtle"
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// Opcode says what a frame is.
type Opcode byte

// The opcodes of RFC 6455; all others are reserved.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xa
)

// Control reports whether frames of the opcode may stand inside a message.
func (o Opcode) Control() bool { return o&0x8 != 0 }

// Reserved bits of a frame.
const (
	RSV1 byte = 0x40 // the message is compressed
	RSV2 byte = 0x20
	RSV3 byte = 0x10
)

const (
	finBit  = 0x80
	maskBit = 0x80
	// maxControl is the longest payload of a control frame.
	maxControl = 125
)

// Frame is one frame as a client sends it.
type Frame struct {
	Opcode   Opcode
	Payload  []byte
	More     bool // FIN is not set
	RSV      byte
	Unmasked bool   // which no client may
	Length   uint64 // that the header tells instead of the payload's, if not 0
}

// Append appends the frame's bytes, masked with a random key.
func (f Frame) Append(dst []byte) []byte {
	b0 := byte(f.Opcode) | f.RSV
	if !f.More {
		b0 |= finBit
	}
	b1 := byte(maskBit)
	if f.Unmasked {
		b1 = 0
	}
	n := uint64(len(f.Payload))
	if f.Length != 0 {
		n = f.Length
	}
	switch {
	case n < 126:
		dst = append(dst, b0, b1|byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, b0, b1|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, b0, b1|127), n)
	}
	if f.Unmasked {
		return append(dst, f.Payload...)
	}
	key := rand.Uint32()
	dst = binary.BigEndian.AppendUint32(dst, key)
	begin := len(dst)
	dst = append(slices.Grow(dst, len(f.Payload)), f.Payload...)
	mask(dst[begin:], key)
	return dst
}

// mask is fast also with the race detector, under which a loop over bytes is not.
func mask(b []byte, key uint32) {
	var pattern [4096]byte
	for i := 0; i < min(len(pattern), len(b)+3); i += 4 {
		binary.BigEndian.PutUint32(pattern[i:], key)
	}
	for len(b) > 0 {
		n := subtle.XORBytes(b, b, pattern[:])
		b = b[n:]
	}
}

// Bytes are frames one behind the other.
func Bytes(frames ...Frame) []byte {
	var b []byte
	for _, f := range frames {
		b = f.Append(b)
	}
	return b
}

// ClosePayload is what a close frame holds.
func ClosePayload(code int, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

// ValidCloseCode reports whether a code may stand in a close frame: one that the
// RFC defines for the wire, that is registered, or that is private.
func ValidCloseCode(code int) bool {
	switch code {
	case 1004, 1005, 1006, 1015:
		return false
	}
	return code >= 1000 && code <= 1014 || code >= 3000 && code <= 4999
}

// Cut divides a message into frames with n bytes of payload at most; an empty one
// is one frame. Only the first has the reserved bits.
func Cut(op Opcode, payload []byte, n int, rsv byte) []Frame {
	if len(payload) == 0 {
		return []Frame{{Opcode: op, RSV: rsv}}
	}
	var frames []Frame
	for part := range slices.Chunk(payload, n) {
		frames = append(frames, Frame{Opcode: Continuation, Payload: part, More: true})
	}
	frames[0].Opcode, frames[0].RSV = op, rsv
	frames[len(frames)-1].More = false
	return frames
}
