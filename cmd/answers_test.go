package cmd_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
)

// durableClient has a durable subscription to chat:a, which holds as many messages as it
// returns the offsets of.
func durableClient(t *testing.T, n *cmd.Node, messages int) (*websocket.Conn, []uint64) {
	t.Helper()
	token := mint(t, auth.Claims{Subject: "ann"}, map[string][]auth.Action{"chat:>": auth.Actions()})
	ws, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(n.URL(), "http")+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(deadline))
	for _, command := range []string{
		fmt.Sprintf(`{"id":1,"connect":{"token":%q,"session":"s1"}}`, token), `{"id":2,"subscribe":{"channel":"chat:a","durable":true}}`,
	} {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(command)); err != nil {
			t.Fatal(err)
		}
		if _, text, err := ws.ReadMessage(); err != nil || strings.Contains(string(text), `"error"`) {
			t.Fatalf("%s: %s %v", command, text, err)
		}
	}
	list := strings.TrimSuffix(strings.Repeat(`{"channel":"chat:a","data":1},`, messages), ",")
	if status, answer := callAs(t, n, "POST", "/v1/messages", token, `{"messages":[`+list+`]}`); status/100 != 2 {
		t.Fatal(answer)
	}
	var offsets []uint64
	for len(offsets) < messages {
		var ev struct {
			Message *struct {
				Offset uint64 `json:"offset"`
			} `json:"message"`
		}
		if err := ws.ReadJSON(&ev); err != nil {
			t.Fatal(err)
		}
		if ev.Message != nil {
			offsets = append(offsets, ev.Message.Offset)
		}
	}
	return ws, offsets
}

// acknowledge sends acks and returns how many were taken and how many refused as too many.
func acknowledge(t *testing.T, ws *websocket.Conn, offsets []uint64) (taken, refused int) {
	t.Helper()
	var writing sync.WaitGroup
	defer writing.Wait()
	_ = ws.SetWriteDeadline(time.Now().Add(time.Minute))
	writing.Go(func() {
		for i, offset := range offsets {
			if ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"ack":{"channel":"chat:a","offset":%d}}`, i+10, offset)) != nil {
				return // closed, which the reader finds out
			}
		}
	})
	for taken+refused < len(offsets) {
		_, text, err := ws.ReadMessage()
		if websocket.IsCloseError(err, 4204) {
			return taken, len(offsets) - taken
		} else if err != nil {
			t.Fatal(err)
		}
		var ev struct {
			Acked, Disconnect json.RawMessage
			Error             struct{ Code int }
		}
		if err := json.Unmarshal(text, &ev); err != nil {
			t.Fatal(err)
		}
		switch {
		case ev.Acked != nil:
			taken++
		case ev.Error.Code == 4000+http.StatusTooManyRequests:
			refused++
		case ev.Disconnect == nil:
			t.Fatalf("neither taken nor too many: %s", text)
		}
	}
	return taken, refused
}

// TestAcksThatTellNothingAreCommands: each is a read of the log. Those that tell something
// are not bounded by the limit of commands.
func TestAcksThatTellNothingAreCommands(t *testing.T) {
	const messages, again = 400, 3000
	cfg := guardedConfig(t)
	cfg.Limits.Commands = 10 // of which 100 at once
	n := startNode(t, cfg)
	ws, offsets := durableClient(t, n, messages)
	if taken, refused := acknowledge(t, ws, offsets); refused > 0 {
		t.Fatalf("of acks for each message, %d were taken and %d refused", taken, refused)
	}
	same := make([]uint64, again)
	for i := range same {
		same[i] = offsets[i%messages]
	}
	if taken, refused := acknowledge(t, ws, same); taken > again/2 || refused == 0 {
		t.Errorf("of acks for what was acknowledged, %d were taken and %d refused", taken, refused)
	}
}
