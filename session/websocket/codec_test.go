package websocket_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

func message(tb testing.TB, size int) *fanout.Message {
	tb.Helper()
	c, err := fanout.ParseChannel("chat:a")
	if err != nil {
		tb.Fatal(err)
	}
	return &fanout.Message{
		Channel: c, Position: fanout.Position{Stream: hubtest.Tag(), Offset: 1, Time: 1},
		Data: []byte(`"` + strings.Repeat("x", size) + `"`),
	}
}

// TestFrameLengths reads frames of every kind of header with gorilla's parser.
func TestFrameLengths(t *testing.T) {
	n := start(t, nil, open())
	c := n.dial(t, "", nil)
	c.subscribe(1, "chat:a", "")
	around := len(`{"message":{"channel":"chat:a","offset":1,"position":"hubtestA-1-gjdgxs","time":1000,"data":""}}`)
	for _, size := range []int{0, 125 - around, 126 - around, 65_535 - around, 65_536 - around, 1 << 20} {
		data := `"` + strings.Repeat("x", max(0, size)) + `"`
		n.hub.Publish("chat:a", data)
		if ev := c.next(); ev.Message == nil || string(ev.Message.Data) != data {
			t.Errorf("size %d: got %.200s", size, show(ev))
		}
	}
}

// idle is a session without a socket.
type idle struct{ session.Session }

func (*idle) Finished() {}

func TestCloseFrame(t *testing.T) {
	codec := websocket.CodecForTest()
	for _, reason := range []string{"", "bye", strings.Repeat("é", 100)} {
		b := codec.Close(protocol.CloseDraining, reason)
		if len(b) > 127 || b[0] != 0x88 || int(b[1]) != len(b)-2 || binary.BigEndian.Uint16(b[2:]) != 4000 {
			t.Errorf("got % x", b)
		}
		if !strings.HasPrefix(reason, string(b[4:])) || len(b) < 4+min(len(reason), 122) {
			t.Errorf("reason %q became %q", reason, b[4:])
		}
	}
}
