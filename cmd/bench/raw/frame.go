//go:build linux

package raw

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Opcodes of WebSocket frames (RFC 6455 section 5.2).
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
)

// errFrame: a frame that a node never sends.
var errFrame = errors.New("raw: unexpected frame")

// parseFrame finds the first frame of b: unmasked and in one piece, as nodes send
// them. size is 0 while it is not complete.
func parseFrame(b []byte) (opcode byte, payload []byte, size int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	if b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 {
		return 0, nil, 0, fmt.Errorf("%w: it begins with %#x %#x", errFrame, b[0], b[1])
	}
	head, length := 2, uint64(b[1])
	switch {
	case length == 126 && len(b) >= 4:
		head, length = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case length == 127 && len(b) >= 10:
		head, length = 10, binary.BigEndian.Uint64(b[2:])
	case length >= 126:
		return 0, nil, 0, nil
	}
	if length > readBuffer*64 {
		return 0, nil, 0, fmt.Errorf("%w: it has %d bytes", errFrame, length)
	}
	size = head + int(length)
	if len(b) < size {
		return 0, nil, 0, nil
	}
	return b[0] & 0xf, b[head:size], size, nil
}

// appendMasked appends a client's frame. The mask is zero: it protects proxies
// from hostile pages, and there are neither here.
func appendMasked(dst []byte, opcode byte, payload []byte) []byte {
	dst = append(dst, 0x80|opcode)
	if len(payload) < 126 {
		dst = append(dst, 0x80|byte(len(payload)))
	} else {
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	}
	dst = append(dst, 0, 0, 0, 0)
	return append(dst, payload...)
}

// Message is what is measured of a delivery.
type Message struct {
	Offset uint64
	N      uint64 // number within the channel, given by the publisher
	Sent   int64  // Unix nanoseconds, by the publisher
}

// parseMessage reads a message event whose data begins as Stamp writes it.
func parseMessage(payload []byte) (m Message, ok bool) {
	rest, ok := after(payload, `"offset":`)
	if !ok {
		return m, false
	}
	m.Offset, rest = digits(rest)
	if rest, ok = after(rest, `"data":{"n":`); !ok {
		return m, false
	}
	m.N, rest = digits(rest)
	if rest, ok = after(rest, `"sent":`); !ok {
		return m, false
	}
	sent, _ := digits(rest)
	m.Sent = int64(sent)
	return m, m.Offset > 0
}

// position returns the position in an event, "" if there is none.
func position(payload []byte) string {
	rest, _ := after(payload, `"position":"`)
	p, _, found := bytes.Cut(rest, []byte{'"'})
	if !found {
		return ""
	}
	return string(p)
}

// members returns the number of connections in a presence event, which follows all
// lists of members.
func members(payload []byte) int {
	i := bytes.LastIndex(payload, []byte(`"clients":`))
	if i < 0 {
		return 0
	}
	n, _ := digits(payload[i+len(`"clients":`):])
	return int(n)
}

func after(b []byte, mark string) ([]byte, bool) {
	i := bytes.Index(b, []byte(mark))
	if i < 0 {
		return nil, false
	}
	return b[i+len(mark):], true
}

func digits(b []byte) (n uint64, rest []byte) {
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + uint64(b[i]-'0')
	}
	return n, b[i:]
}

// StampSize is how many bytes Stamp writes.
const StampSize = len(`{"n":0000000001,"sent":1700000000000000000,`)

// firstN makes every number ten digits long: JSON has no leading zeros.
const firstN = 1_000_000_000

// Stamp writes the beginning of a message's data over data: its number in the
// channel, from 1, and when it was sent, in Unix nanoseconds. Its size is always
// StampSize.
func Stamp(data []byte, n uint64, sent int64) {
	b := append(data[:0], `{"n":`...)
	b = strconv.AppendUint(b, firstN+n, 10)
	b = append(b, `,"sent":`...)
	b = strconv.AppendInt(b, sent, 10)
	_ = append(b, ',')
}
