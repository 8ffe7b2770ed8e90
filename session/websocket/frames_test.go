package websocket_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

// TestBadFrames: what is no command of the protocol ends the connection with a
// disconnect event and the same code in the close frame.
func TestBadFrames(t *testing.T) {
	n := start(t, func(c *session.Config) { c.MaxFrame = 4096 }, open())
	header := func(b ...byte) []byte { return b }
	for _, tc := range []struct {
		name string
		send func(c *client) error
		code protocol.Code
	}{
		{"binary", func(c *client) error { return c.WriteMessage(gorilla.BinaryMessage, []byte(`{"ping":{}}`)) }, protocol.CloseBadFrame},
		{"not JSON", func(c *client) error { return c.WriteMessage(gorilla.TextMessage, []byte(`hello`)) }, protocol.CloseBadFrame},
		{"empty", func(c *client) error { return c.WriteMessage(gorilla.TextMessage, nil) }, protocol.CloseBadFrame},
		{"array", func(c *client) error { return c.WriteMessage(gorilla.TextMessage, []byte(`[]`)) }, protocol.CloseBadFrame},
		{"no command", func(c *client) error { return c.WriteMessage(gorilla.TextMessage, []byte(`{}`)) }, protocol.CloseBadFrame},
		{"no id", func(c *client) error {
			return c.WriteMessage(gorilla.TextMessage, []byte(`{"subscribe":{"channel":"a"}}`))
		}, protocol.CloseBadFrame},
		{"id zero", func(c *client) error {
			return c.WriteMessage(gorilla.TextMessage, []byte(`{"id":0,"subscribe":{"channel":"a"}}`))
		}, protocol.CloseBadFrame},
		{"two objects", func(c *client) error {
			return c.WriteMessage(gorilla.TextMessage, []byte(`{"ping":{}}{"ping":{}}`))
		}, protocol.CloseBadFrame},
		{"deep nesting", func(c *client) error {
			return c.WriteMessage(gorilla.TextMessage, []byte(`{"id":1,"x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`}`))
		}, protocol.CloseBadFrame},
		{"not UTF-8", func(c *client) error {
			return c.WriteMessage(gorilla.TextMessage, []byte("{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":\"\xff\"}}"))
		}, protocol.CloseInvalidText},
		{"over the limit", func(c *client) error {
			return c.WriteMessage(gorilla.TextMessage, bytes.Repeat([]byte(" "), 4097))
		}, protocol.CloseTooLarge},
		{"far over the limit", func(c *client) error {
			return c.WriteMessage(gorilla.TextMessage, bytes.Repeat([]byte(" "), 2<<20))
		}, protocol.CloseTooLarge},
		{"unmasked", func(c *client) error {
			_, err := c.NetConn().Write(header(0x81, 2, '{', '}'))
			return err
		}, protocol.CloseProtocolError},
		{"reserved bit", func(c *client) error {
			_, err := c.NetConn().Write(header(0xc1, 0x80, 1, 2, 3, 4))
			return err
		}, protocol.CloseProtocolError},
		{"unknown opcode", func(c *client) error {
			_, err := c.NetConn().Write(header(0x83, 0x80, 1, 2, 3, 4))
			return err
		}, protocol.CloseProtocolError},
		{"continuation of nothing", func(c *client) error {
			_, err := c.NetConn().Write(header(0x80, 0x80, 1, 2, 3, 4))
			return err
		}, protocol.CloseProtocolError},
		{"bad close code", func(c *client) error {
			_, err := c.NetConn().Write(header(0x88, 0x82, 0, 0, 0, 0, 0, 1))
			return err
		}, protocol.CloseProtocolError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := n.dial(t, "", nil)
			if err := tc.send(c); err != nil { // also a long frame can be sent to its end
				t.Fatal(err)
			}
			if ev := c.wantClose(tc.code); ev.Reason == "" {
				t.Error("no reason given")
			}
		})
	}
}

// TestBadCommands: a frame whose id could be read is answered, and the connection goes on.
func TestBadCommands(t *testing.T) {
	c := start(t, nil, open()).dial(t, "", nil)
	for i, tc := range []struct{ name, frame, field string }{
		{"two commands", `{"id":1,"subscribe":{"channel":"a"},"unsubscribe":{"channel":"a"}}`, "frame"},
		{"unknown command", `{"id":2,"dance":{}}`, "frame"},
		{"no object", `{"id":3,"subscribe":"a"}`, "subscribe"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.send("%s", tc.frame)
			c.wantError(uint64(i+1), protocol.ErrorBadRequest, tc.field)
		})
	}
}

func TestFragmentedCommand(t *testing.T) {
	c := start(t, nil, open()).dial(t, "", nil)
	w, err := c.NextWriter(gorilla.TextMessage)
	if err != nil {
		t.Fatal(err)
	}
	text := `{"id":1,"ping":{},"pad":"` + strings.Repeat("x", 9000) + `"}` // over gorilla's write buffer
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if ev := c.next(); ev.Pong == nil || ev.ID != 1 {
		t.Errorf("got %s", show(ev))
	}
}

func TestClientCloses(t *testing.T) {
	n := start(t, nil, open())
	for _, code := range []int{gorilla.CloseNormalClosure, gorilla.CloseGoingAway, 4999, gorilla.CloseNoStatusReceived} {
		c := n.dial(t, "", nil)
		c.subscribe(1, "chat:a", "")
		if err := c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, ""), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		c.wantCloseFrame(protocol.Code(code))
	}
	hubtest.Eventually(t, "all are gone", func() bool { return n.registry.Len() == 0 && n.hub.Clients() == 0 })
}
