package websocket_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
)

// language is one of the codecs of package protocol, as a client needs it.
type language interface {
	Subprotocol() string
	AppendCommand(dst []byte, c *protocol.Command) []byte
	DecodeEvent(frame []byte) (protocol.Event, error)
}

// spoken are the subprotocols with the kind of their messages.
var spoken = []struct {
	name string
	language
	kind int
}{
	{"JSON", protocol.JSON{}, gorilla.TextMessage},
	{"Protobuf", protocol.Protobuf{}, gorilla.BinaryMessage},
}

// speaker is a client of one subprotocol that sees what comes over the wire.
type speaker struct {
	*gorilla.Conn
	language
	tb         testing.TB
	kind       int
	compressed bool // permessage-deflate was agreed on
	wire       *tapped
}

// speak dials; deflate offers compression.
func (n *node) speak(tb testing.TB, l language, kind int, deflate bool) *speaker {
	tb.Helper()
	return n.speakWith(tb, l, kind, deflate, nil)
}

// speakAs dials with a token.
func (n *node) speakAs(tb testing.TB, l language, kind int, token string) *speaker {
	tb.Helper()
	return n.speakWith(tb, l, kind, false, http.Header{"Authorization": {"Bearer " + token}})
}

func (n *node) speakWith(tb testing.TB, l language, kind int, deflate bool, header http.Header) *speaker {
	tb.Helper()
	s := &speaker{language: l, tb: tb, kind: kind}
	d := gorilla.Dialer{
		Subprotocols: []string{l.Subprotocol()}, EnableCompression: deflate,
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			s.wire = &tapped{Conn: conn}
			return s.wire, err
		},
	}
	conn, resp, err := d.DialContext(tb.Context(), n.url, header)
	if err != nil {
		tb.Fatalf("dial: %v (%v)", err, resp)
	}
	resp.Body.Close()
	tb.Cleanup(func() { _ = conn.Close() })
	s.Conn, s.compressed = conn, resp.Header.Get("Sec-Websocket-Extensions") != ""
	if got := conn.Subprotocol(); got != l.Subprotocol() {
		tb.Fatalf("speaks %q, want %q", got, l.Subprotocol())
	}
	return s
}

func (s *speaker) command(c protocol.Command) {
	s.tb.Helper()
	if err := s.WriteMessage(s.kind, s.AppendCommand(nil, &c)); err != nil {
		s.tb.Fatalf("send: %v", err)
	}
}

func (s *speaker) subscribe(id uint64, channel string) {
	s.tb.Helper()
	s.command(protocol.Command{ID: id, Subscribe: &protocol.SubscribeCommand{Channel: channel}})
	if ev := s.event(); ev.Subscribed == nil || ev.ID != id {
		s.tb.Fatalf("got %s, want subscribed to command %d", show(ev), id)
	}
}

// event reads one event.
func (s *speaker) event() protocol.Event {
	s.tb.Helper()
	_ = s.SetReadDeadline(time.Now().Add(20 * time.Second))
	kind, frame, err := s.ReadMessage()
	if err != nil {
		s.tb.Fatalf("read: %v", err)
	}
	if kind != s.kind {
		s.tb.Fatalf("a message of kind %d, want %d", kind, s.kind)
	}
	ev, err := s.DecodeEvent(frame)
	if err != nil {
		s.tb.Fatalf("%v in %q", err, frame)
	}
	return ev
}

// wantClose reads a disconnect event and the close frame with the same code.
func (s *speaker) wantClose(code protocol.Code) {
	s.tb.Helper()
	if ev := s.event(); ev.Disconnect == nil || ev.Disconnect.Code != code || ev.Disconnect.Reason == "" {
		s.tb.Fatalf("got %s, want disconnect %d", show(ev), code)
	}
	(&client{s.Conn, s.tb}).wantCloseFrame(code)
}

// tapped is a connection that keeps what is read from it.
type tapped struct {
	net.Conn

	mu   sync.Mutex // guards the following
	read []byte
}

func (t *tapped) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = append(t.read, p[:n]...)
	return n, err
}

// arrived is a frame's first byte and the length of its payload.
type arrived struct {
	first   byte
	payload int
}

// frames returns what has come since the handshake.
func (t *tapped) frames(tb testing.TB) (list []arrived) {
	tb.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	_, b, ok := bytes.Cut(t.read, []byte("\r\n\r\n"))
	if !ok {
		tb.Fatal("no handshake was read")
	}
	for len(b) > 0 {
		header, payload := 2, int(b[1])
		switch payload {
		case 126:
			header, payload = 4, int(binary.BigEndian.Uint16(b[2:]))
		case 127:
			header, payload = 10, int(binary.BigEndian.Uint64(b[2:]))
		}
		list = append(list, arrived{b[0], payload})
		b = b[header+payload:]
	}
	return list
}

// last is the last of frames.
func (t *tapped) last(tb testing.TB) (first byte, payload int) {
	tb.Helper()
	list := t.frames(tb)
	f := list[len(list)-1]
	return f.first, f.payload
}
