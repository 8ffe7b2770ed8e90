package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// ErrViolation is wrapped by everything that a server must not do.
var ErrViolation = errors.New("wire: the server breaks the protocol")

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrViolation, fmt.Sprintf(format, args...))
}

// Event is a whole message or a control frame.
type Event struct {
	Opcode     Opcode
	Payload    []byte // inflated; of a close frame without its code
	Code       int    // of a close frame; 0 is none
	Compressed bool
	Frames     int // of which a message consisted
}

// Parser reads what a server says. After a close frame it accepts nothing but the
// end of the connection.
type Parser struct {
	r       *bufio.Reader
	deflate bool
	limit   int // bytes of a message

	message *Event // nil if none has begun
	closed  bool
}

// NewParser returns a parser; deflate says that messages may be compressed.
func NewParser(r *bufio.Reader, deflate bool, limit int) *Parser {
	return &Parser{r: r, deflate: deflate, limit: limit}
}

// header is what precedes a payload.
type header struct {
	opcode Opcode
	fin    bool
	rsv    byte
	length int
}

// Next returns the next event. io.EOF is an end between frames; behind a close
// frame it is the only error that is right.
func (p *Parser) Next() (Event, error) {
	for {
		ev, err := p.frame()
		if err != nil || ev != nil {
			if ev == nil {
				ev = &Event{}
			}
			return *ev, err
		}
	}
}

// frame reads one frame; it returns nothing if a message goes on.
func (p *Parser) frame() (*Event, error) {
	if p.closed {
		b, err := p.r.ReadByte()
		if err == nil {
			err = violation("byte %#02x behind the close frame", b)
		}
		return nil, err
	}
	h, err := p.header()
	if err != nil {
		return nil, err
	}
	if err := p.check(h); err != nil {
		return nil, err
	}
	if h.opcode.Control() {
		return p.control(h)
	}
	return p.data(h)
}

func (p *Parser) header() (header, error) {
	b, err := p.read(2, nil)
	if err != nil {
		return header{}, err
	}
	h := header{opcode: Opcode(b[0] & 0xf), fin: b[0]&finBit != 0, rsv: b[0] & (RSV1 | RSV2 | RSV3), length: int(b[1] &^ maskBit)}
	if b[1]&maskBit != 0 {
		return h, violation("a masked frame")
	}
	var least uint64
	switch h.length {
	case 126:
		b, err = p.read(2, nil)
		least = 126
	case 127:
		b, err = p.read(8, nil)
		least = 1 << 16
	default:
		return h, nil
	}
	if err != nil {
		return h, torn(err)
	}
	var full [8]byte
	copy(full[8-len(b):], b)
	n := binary.BigEndian.Uint64(full[:])
	if n < least || n>>63 != 0 {
		return h, violation("length %d in %d bytes", n, len(b))
	}
	if n > uint64(p.limit) {
		return h, violation("a frame of %d bytes, over the client's limit of %d", n, p.limit)
	}
	h.length = int(n)
	return h, nil
}

func (p *Parser) check(h header) error {
	switch h.opcode {
	case Continuation:
		if p.message == nil {
			return violation("a continuation of nothing")
		}
	case Text, Binary:
		if p.message != nil {
			return violation("a new message inside another")
		}
	case Close, Ping, Pong:
		if !h.fin || h.length > maxControl {
			return violation("a control frame with FIN %t and %d bytes", h.fin, h.length)
		}
	default:
		return violation("opcode %#x", byte(h.opcode))
	}
	mayCompress := p.deflate && (h.opcode == Text || h.opcode == Binary)
	if h.rsv != 0 && (h.rsv != RSV1 || !mayCompress) {
		return violation("reserved bits %#02x with opcode %#x", h.rsv, byte(h.opcode))
	}
	return nil
}

func (p *Parser) control(h header) (*Event, error) {
	payload, err := p.read(h.length, nil)
	if err != nil {
		return nil, torn(err)
	}
	ev := &Event{Opcode: h.opcode, Payload: payload, Frames: 1}
	if h.opcode != Close {
		return ev, nil
	}
	p.closed = true
	if len(payload) == 0 {
		return ev, nil
	}
	if len(payload) == 1 {
		return nil, violation("a close frame with half a code")
	}
	ev.Code, ev.Payload = int(binary.BigEndian.Uint16(payload)), payload[2:]
	if !ValidCloseCode(ev.Code) || !utf8.Valid(ev.Payload) {
		return nil, violation("a close frame with code %d and reason %q", ev.Code, ev.Payload)
	}
	return ev, nil
}

func (p *Parser) data(h header) (*Event, error) {
	if p.message == nil {
		p.message = &Event{Opcode: h.opcode, Compressed: h.rsv&RSV1 != 0}
	}
	ev := p.message
	ev.Frames++
	if len(ev.Payload)+h.length > p.limit {
		return nil, violation("a message over the client's limit of %d bytes", p.limit)
	}
	var err error
	if ev.Payload, err = p.read(h.length, ev.Payload); err != nil {
		return nil, torn(err)
	}
	if !h.fin {
		return nil, nil
	}
	p.message = nil
	if ev.Compressed {
		if ev.Payload, err = Inflate(ev.Payload, p.limit); err != nil {
			return nil, err
		}
	}
	if ev.Opcode == Text && !utf8.Valid(ev.Payload) {
		return nil, violation("a text message that is not UTF-8")
	}
	return ev, nil
}

// read appends n bytes to dst.
func (p *Parser) read(n int, dst []byte) ([]byte, error) {
	begin := len(dst)
	if cap(dst)-begin < n {
		dst = append(make([]byte, 0, max(begin+n, 2*begin)), dst...)
	}
	dst = dst[:begin+n]
	_, err := io.ReadFull(p.r, dst[begin:])
	return dst, err
}

// torn is an end inside a frame.
func torn(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
