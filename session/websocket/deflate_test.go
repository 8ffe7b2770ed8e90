package websocket_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

// TestCompression: a long message arrives compressed where that was agreed on, and as
// it is elsewhere; a short one and an event always do.
func TestCompression(t *testing.T) {
	long := `"` + strings.Repeat("compressible ", 1000) + `"`
	for _, l := range spoken {
		for _, tc := range []struct {
			name          string
			above         int
			offered       bool
			agreed, saves bool
		}{
			{"agreed on", 1 << 10, true, true, true},
			{"not offered", 1 << 10, false, false, false},
			{"turned off", 0, true, false, false},
			{"only longer ones", 1 << 20, true, true, false},
		} {
			t.Run(l.name+", "+tc.name, func(t *testing.T) {
				n := start(t, func(c *session.Config) { c.CompressAbove = tc.above }, open())
				s := n.speak(t, l.language, l.kind, tc.offered)
				if s.compressed != tc.agreed {
					t.Fatalf("agreed on: %v", s.compressed)
				}
				s.subscribe(1, "chat:a")
				for _, data := range []string{`"short"`, long, `"short again"`, long} {
					n.hub.Publish("chat:a", data)
					if ev := s.event(); ev.Message == nil || string(ev.Message.Data) != data {
						t.Fatalf("got %.200s", show(ev))
					}
					first, size := s.wire.last(t)
					saves := tc.saves && len(data) > tc.above
					if got := first&rsv1 != 0; got != saves {
						t.Errorf("%d bytes arrived compressed: %v, want %v", len(data), got, saves)
					}
					if saves && size > len(data)/10 || !saves && size < len(data) {
						t.Errorf("%d bytes arrived in %d", len(data), size)
					}
				}
			})
		}
	}
}

// TestIncompressible: what does not become shorter is sent as it is.
func TestIncompressible(t *testing.T) {
	s := start(t, nil, open()).speak(t, protocol.Protobuf{}, spoken[1].kind, true)
	s.subscribe(1, "chat:a")
	noise := make([]byte, 5000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	s.command(protocol.Command{ID: 2, Publish: &protocol.PublishCommand{Channel: "chat:a", Bytes: noise}})
	ev := s.event()
	if ev.Message == nil { // the answer came first
		ev = s.event()
	}
	if ev.Message == nil || !bytes.Equal(ev.Message.Bytes, noise) {
		t.Fatalf("got %.200s", show(ev))
	}
	for _, f := range s.wire.frames(t) {
		if f.first&rsv1 != 0 {
			t.Errorf("%d bytes arrived compressed", f.payload)
		}
	}
}

// TestCompressedCommands: clients may compress, in fragments too, and what their
// messages become is bounded as any.
func TestCompressedCommands(t *testing.T) {
	const limit = 20_000
	for _, l := range spoken {
		publish := func(id uint64, size int) []byte {
			return l.AppendCommand(nil, &protocol.Command{ID: id, Publish: &protocol.PublishCommand{
				Channel: "chat:a", Data: json.RawMessage(`"` + strings.Repeat("x", size) + `"`),
			}})
		}
		dial := func(t *testing.T) *speaker {
			t.Helper()
			s := start(t, func(c *session.Config) { c.MaxFrame = limit }, open()).speak(t, l.language, l.kind, true)
			s.EnableWriteCompression(true)
			return s
		}
		t.Run(l.name, func(t *testing.T) {
			s := dial(t)
			for i, size := range []int{1, 500, 0, limit - 100, 3} {
				id := uint64(i + 1)
				if err := s.WriteMessage(s.kind, publish(id, size)); err != nil {
					t.Fatal(err)
				}
				if ev := s.event(); ev.ID != id || ev.Published == nil || ev.Published.Offset != id {
					t.Fatalf("got %s", show(ev))
				}
			}
			s.EnableWriteCompression(false) // which a client may leave out
			s.command(protocol.Command{ID: 7, Ping: &protocol.Ping{}})
			if ev := s.event(); ev.Pong == nil || ev.ID != 7 {
				t.Fatalf("got %s", show(ev))
			}
		})
		t.Run(l.name+" over the limit", func(t *testing.T) {
			s := dial(t)
			if err := s.WriteMessage(s.kind, publish(1, limit)); err != nil {
				t.Fatal(err)
			}
			s.wantClose(protocol.CloseTooLarge)
		})
		t.Run(l.name+", a bomb", func(t *testing.T) {
			s := dial(t)
			if err := s.WriteMessage(s.kind, publish(1, 8<<20)); err != nil {
				t.Fatal(err)
			}
			s.wantClose(protocol.CloseTooLarge)
		})
		t.Run(l.name+", not to be inflated", func(t *testing.T) {
			s := dial(t)
			if _, err := s.NetConn().Write(masked(fin|rsv1|byte(s.kind), "\xff\xff\xff\xff")); err != nil {
				t.Fatal(err)
			}
			s.wantClose(protocol.CloseInvalidText)
		})
	}
}

// counted is a codec that counts how often it encodes a message.
type counted struct {
	websocket.Wire
	messages *int
}

func (c counted) AppendMessageEvent(dst []byte, m *protocol.MessageEvent) []byte {
	*c.messages++
	return c.Wire.AppendMessageEvent(dst, m)
}

// TestFrameIsSharedByAll: a message is encoded once per subprotocol, and compressed
// once, however many receive it; then a delivery allocates nothing.
func TestFrameIsSharedByAll(t *testing.T) {
	r := hubtest.New().Start(t, config(func(c *session.Config) { c.SoftBuffer, c.HardBuffer = 16<<20, 64<<20 }), open())
	for _, l := range []websocket.Wire{protocol.JSON{}, protocol.Protobuf{}} {
		var encoded int
		plain, deflated := websocket.CodecsForTest(counted{l, &encoded}, 1<<10)
		for _, size := range []int{200, 2000} {
			m := message(t, size)
			encoded = 0
			var frames [2][]byte
			for i, codec := range []session.Codec{plain, deflated} {
				t.Run(fmt.Sprintf("%s, %d bytes, compression %v", l.Subprotocol(), size, i == 1), func(t *testing.T) {
					frames[i] = codec.Message(m)
					s := &idle{}
					s.Init(r, codec, session.Handshake{}, s)
					defer s.End()
					deliversFree(t, s, m)
					if again := codec.Message(m); &again[0] != &frames[i][0] {
						t.Error("the frame was made again")
					}
				})
			}
			if encoded != 1 {
				t.Errorf("%s: the message of %d bytes was encoded %d times", l.Subprotocol(), size, encoded)
			}
			if same := &frames[0][0] == &frames[1][0]; same != (size <= 1<<10) {
				t.Errorf("%s: %d bytes are one frame with compression and without: %v", l.Subprotocol(), size, same)
			}
		}
	}
}

// deliversFree fails if a delivery of m to s allocates anything.
func deliversFree(t *testing.T, s *idle, m *fanout.Message) {
	t.Helper()
	for range 3_000 { // let the list of what waits grow first
		s.Deliver(m)
	}
	taken := true
	if n := testing.AllocsPerRun(200, func() { taken = taken && s.Deliver(m) }); n != 0 {
		t.Errorf("a delivery allocates %v times", n)
	}
	if !taken {
		t.Error("the buffer was full; the test shows nothing")
	}
}
