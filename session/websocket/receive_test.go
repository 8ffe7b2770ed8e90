package websocket_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

// heard is what was made of a client's bytes.
type heard struct {
	messages []string // kind and payload
	pongs    []string
}

func (h *heard) message(kind int, payload []byte) {
	h.messages = append(h.messages, fmt.Sprintf("%d %x", kind, payload))
}

// wireInMemory takes whatever is written.
type wireInMemory struct{ written []byte }

func (w *wireInMemory) TryWrite(p []byte) (int, error) {
	w.written = append(w.written, p...)
	return len(p), nil
}

func (*wireInMemory) Begin()                      {}
func (*wireInMemory) Close() error                { return nil }
func (*wireInMemory) CloseWrite()                 {}
func (*wireInMemory) Release()                    {}
func (*wireInMemory) SetDeadline(time.Time) error { return nil }
func (*wireInMemory) Unacked() int                { return 0 }

// answers takes the node's frames apart: the payloads of pongs, and that of the close frame.
func (w *wireInMemory) answers(tb testing.TB) (pongs []string, bye string) {
	tb.Helper()
	for b := w.written; len(b) > 0; {
		n := 2 + int(b[1])
		switch {
		case b[1] > 125 || len(b) < n || bye != "":
			tb.Fatalf("wrote % x", w.written)
		case b[0] == fin|ponging:
			pongs = append(pongs, string(b[2:n]))
		case b[0] == fin|closing:
			bye = "close " + string(b[2:n])
		default:
			tb.Fatalf("wrote % x", w.written)
		}
		b = b[n:]
	}
	return pongs, bye
}

// oneWay is a connection that reads from memory, for gorilla alone.
type oneWay struct {
	net.Conn // nil: what is not here is not called
	in       *bytes.Reader
}

func (o oneWay) Read(p []byte) (int, error)     { return o.in.Read(p) }
func (oneWay) Write(p []byte) (int, error)      { return len(p), nil }
func (oneWay) Close() error                     { return nil }
func (oneWay) SetDeadline(time.Time) error      { return nil }
func (oneWay) SetWriteDeadline(time.Time) error { return nil }
func (o oneWay) Header() http.Header            { return http.Header{} }
func (o oneWay) WriteHeader(int)                {}
func (o oneWay) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return o, bufio.NewReadWriter(bufio.NewReaderSize(o, 16), bufio.NewWriterSize(o, 16)), nil
}

// gorillaAlone reads in as a server that is nothing but gorilla would.
func gorillaAlone(tb testing.TB, in []byte, limit int, deflate bool) (h heard) {
	tb.Helper()
	r := &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		"Sec-Websocket-Extensions": {"permessage-deflate"},
	}}
	under := oneWay{in: bytes.NewReader(nil)}
	ws, err := (&gorilla.Upgrader{EnableCompression: deflate}).Upgrade(under, r, nil)
	if err != nil {
		tb.Fatal(err)
	}
	under.in.Reset(in)
	ws.SetReadLimit(int64(limit))
	ws.SetPingHandler(func(p string) error { h.pongs = append(h.pongs, p); return nil })
	for {
		kind, from, err := ws.NextReader()
		if err != nil {
			return h
		}
		message, err := io.ReadAll(io.LimitReader(from, int64(limit)+1))
		if err != nil || len(message) > limit {
			return h
		}
		h.message(kind, message)
	}
}

// scripted makes frames of arbitrary bytes, most of them right: a fuzzer finds few by
// itself.
func scripted(script []byte) (out []byte) {
	inside := false
	for len(script) >= 3 {
		op, size, more := script[0], int(script[1]), int(script[2])
		script = script[3:]
		first := []byte{wholeText, fin | bin, text, bin, wholePing, fin | ponging, wholeText | rsv1, text | rsv1}[op&7]
		if inside && first&0x0f < closing {
			first = first&fin | continuation
		}
		switch op >> 3 {
		case 1:
			first = byte(more) // whatever it is
		case 2:
			size <<= more & 7
		case 3:
			first = fin | closing
		}
		if first&0x0f >= closing {
			size = min(size, 125)
		} else {
			inside = first&fin == 0
		}
		payload := slices.Grow(slices.Clone(script[:min(size, len(script))]), size)[:size]
		if op>>3 != 4 {
			script = script[min(size, len(script)):]
		}
		out = append(out, masked(first, string(payload))...)
	}
	return out
}

// FuzzReceive: what gorilla alone would read as messages is what is received, in
// whatever pieces it comes.
func FuzzReceive(f *testing.F) {
	registry := hubtest.New().Start(f, config(nil), open())
	for seed := range uint64(8) {
		s := randomFrames(rand.New(rand.NewPCG(seed, 4)), 2000)
		f.Add(s.bytes, seed, false, seed%2 == 0)
	}
	f.Add(join(compressed(f, strings.Repeat("long ", 300)), masked(wholePing, "p"), masked(wholeText, "x")), uint64(5), false, true)
	f.Add(join(compressed(f, strings.Repeat("longer ", 700)), masked(wholeText, "x")), uint64(9), false, true)
	f.Add(join(masked(wholeText, "x"), masked(fin|closing, "\x03\xe8bye"), masked(wholeText, "y")), uint64(2), false, false)
	f.Add(join(masked(text, "x"), masked(fin|closing, "z"), masked(lastOne, "y")), uint64(2), false, false)
	f.Add([]byte("\x00\x03xabc\x02\x02xde\x04\x01xp\x00\x01xf\x18\x02x\x03\xe8"), uint64(1), true, false)
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, script, deflate bool) {
		const limit = 2000
		if script {
			in = scripted(in)
		}
		want := gorillaAlone(t, in, limit, deflate)
		got, bye := received(t, registry, in, seed, limit, deflate)
		less, more := 0, 0
		if deflate {
			got.messages, want.messages = uncut(got.messages, want.messages)
		}
		switch {
		case strings.HasSuffix(bye, "malformed frame"):
			less = len(in) // the gate knows rules that gorilla does not
		case strings.HasSuffix(bye, "data is not valid"):
			less, more = len(in), len(in) // gorilla does not look behind a last block
		case deflate:
			// Gorilla is content with the end of a message's compressed data, where the gate
			// waits for the end of the message; and control frames in a message that does not
			// decompress are answered before that is seen.
			less, more = 1, len(in)
		}
		if !same(got.messages, want.messages, less, 0) {
			t.Errorf("in % x\nreceived %q\ngorilla  %q\nended with %q", in, got.messages, want.messages, bye)
		}
		if !same(got.pongs, want.pongs, less, more) {
			t.Errorf("in % x\nanswered pings %q\ngorilla        %q\nended with %q", in, got.pongs, want.pongs, bye)
		}
	})
}

// uncut ends both where gorilla takes a last block for the message's end: there is more
// of that message, and what comes after it gorilla counts wrongly.
func uncut(got, want []string) (g, w []string) {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] && strings.HasPrefix(got[i], want[i]) {
			return got[:i], want[:i]
		}
	}
	return got, want
}

// same reports whether got is want, or at most so much shorter or longer.
func same(got, want []string, less, more int) bool {
	n := min(len(got), len(want))
	return slices.Equal(got[:n], want[:n]) && len(want)-n <= less && len(got)-n <= more
}

// received gives in to the reading side in pieces, until it is over.
func received(tb testing.TB, registry *session.Registry, in []byte, seed uint64, limit int, deflate bool) (h heard, bye string) {
	tb.Helper()
	w := &wireInMemory{}
	c, err := websocket.NewReceiver(registry, w, limit, deflate, h.message)
	if err != nil {
		tb.Fatal(err)
	}
	r, size := rand.New(rand.NewPCG(seed, 5)), 1+int(seed%400)
	var buf []byte
	for len(in) > 0 {
		n := min(len(in), 1+r.IntN(size))
		buf = append(buf[:0], in[:n]...)
		c.Receive(buf)
		clear(buf)
		in = in[n:]
		if c.Over() && len(w.written) == 0 {
			tb.Fatal("over, and no close frame was sent")
		}
	}
	c.End()
	h.pongs, bye = w.answers(tb)
	return h, bye
}

// compressed is a message as a client sends it that compresses.
func compressed(tb testing.TB, message string) []byte {
	tb.Helper()
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := z.Write([]byte(message)); err != nil {
		tb.Fatal(err)
	}
	if err := z.Flush(); err != nil {
		tb.Fatal(err)
	}
	return masked(wholeText|rsv1, strings.TrimSuffix(b.String(), "\x00\x00\xff\xff"))
}
