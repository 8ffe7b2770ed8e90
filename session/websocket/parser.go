package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// parser is a gorilla connection that reads from memory. Between whole messages it
// holds no state, so that one serves any connection with the same options, one after
// the other.
type parser struct {
	ws  *websocket.Conn
	mem memory
	on  *conn // whose frames are being read
}

// parsers are those of one set of options.
type parsers struct {
	pool    sync.Pool // of *parser
	limit   int64
	deflate bool
}

func (ps *parsers) get() (*parser, error) {
	if p, ok := ps.pool.Get().(*parser); ok {
		return p, nil
	}
	return newParser(ps.limit)
}

// newParser makes a gorilla connection as there is only one way to: by an upgrade,
// here of a request and over a connection in memory.
func newParser(limit int64) (*parser, error) {
	p := &parser{}
	r := &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, // the example of RFC 6455
	}}
	u := websocket.Upgrader{ReadBufferSize: parserBuffer, WriteBufferPool: &sync.Pool{}, WriteBufferSize: readBuffer}
	var err error
	if p.ws, err = u.Upgrade(&memoryHijacker{mem: &p.mem}, r, nil); err != nil {
		return nil, fmt.Errorf("websocket: make a parser: %w", err)
	}
	p.ws.SetReadLimit(limit)
	p.ws.SetPingHandler(func(payload string) error { return p.on.ping(payload) })
	p.ws.SetPongHandler(func(string) error { return p.on.pong() })
	p.ws.SetCloseHandler(func(int, string) error { return nil }) // answered at the read's error
	return p, nil
}

// parserBuffer is what a parser reads ahead of its memory, in bytes.
const parserBuffer = 4 << 10

// errHeld: the parser found no fault where the gate did, which knows more rules.
var errHeld = errors.New("malformed frame")

// read hands the messages of out to c, one after the other.
func (p *parser) read(c *conn, out passed) error {
	p.on = c
	defer func() { p.on, p.mem = nil, memory{} }()
	var compressed []bool
	if c.speech.parsers.deflate {
		out, compressed = unmark(out)
	}
	p.mem.in = out.frames
	if !out.broken {
		p.mem.end = sentinel
	}
	for i := range out.messages {
		kind, r, err := p.ws.NextReader()
		if err == nil {
			err = c.message(kind, r, compressed != nil && compressed[i])
		}
		if err != nil {
			return err
		}
	}
	_, r, err := p.ws.NextReader() // control frames up to the sentinel, or the broken frame
	if err == nil {
		err = drain(r, p.on.speech.parsers.limit+1) // one more, to meet a frame that is too long
	}
	// gorilla's word for the end of its memory in the middle of a frame is a close.
	end, closed := errors.AsType[*websocket.CloseError](err)
	if out.broken && (err == nil || errors.Is(err, io.EOF) || closed && end.Code == websocket.CloseAbnormalClosure) {
		return errHeld
	}
	return err
}

// unmark takes the marks of compressed messages off, which gorilla is not to know of,
// and returns which have one.
func unmark(out passed) (passed, []bool) {
	if out.shared && out.broken { // a header that is not to be changed for its owner
		out.frames, out.shared = bytes.Clone(out.frames), false
	}
	compressed := make([]bool, 0, out.messages+1)
	for b := out.frames; len(b) > 0; {
		if opcode := b[0] & opcodeBits; opcode != opContinuation && opcode < firstControl {
			compressed = append(compressed, b[0]&rsv1Bit != 0)
			b[0] &^= rsv1Bit
		}
		f := parseFrame(b, rules{deflate: true}, true, 0)
		if f.size == 0 { // the header that breaks a rule
			break
		}
		b = b[f.size:]
	}
	return out, compressed
}

// drain reads what there is of a message that a broken frame left unfinished, up to
// limit bytes.
func drain(r io.Reader, limit int64) error {
	_, err := io.Copy(io.Discard, io.LimitReader(r, limit))
	return err
}

// An empty message follows what is read: a reader that gets it has seen everything
// before it.
const sentinel = "\x82\x80\x00\x00\x00\x00"

// memory is the connection under a parser: it reads what it was given, then end. What
// gorilla writes by itself (close frames after an error) is dropped, as the session
// sends its own.
type memory struct {
	in  []byte
	end string
}

var _ net.Conn = (*memory)(nil)

func (m *memory) Read(p []byte) (n int, err error) {
	if len(m.in) > 0 {
		n = copy(p, m.in)
		m.in = m.in[n:]
		return n, nil
	}
	if len(m.end) == 0 {
		return 0, io.EOF
	}
	n = copy(p, m.end)
	m.end = m.end[n:]
	return n, nil
}

func (*memory) Write(p []byte) (int, error)      { return len(p), nil }
func (*memory) Close() error                     { return nil }
func (*memory) LocalAddr() net.Addr              { return nil }
func (*memory) RemoteAddr() net.Addr             { return nil }
func (*memory) SetDeadline(time.Time) error      { return nil }
func (*memory) SetReadDeadline(time.Time) error  { return nil }
func (*memory) SetWriteDeadline(time.Time) error { return nil }

// memoryHijacker is the response writer of an upgrade in memory.
type memoryHijacker struct {
	http.ResponseWriter
	mem *memory
}

// Hijack implements http.Hijacker.
func (h *memoryHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	rw := bufio.NewReadWriter(bufio.NewReaderSize(h.mem, 16), bufio.NewWriterSize(h.mem, 16))
	return h.mem, rw, nil
}
