package websocket_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
)

// alike is a message with its bytes as they are, whatever codec it came in.
func alike(tb testing.TB, ev protocol.Event) (m protocol.MessageEvent, data string) {
	tb.Helper()
	if ev.Message == nil {
		tb.Fatalf("got %s, want a message", show(ev))
	}
	m = *ev.Message
	switch {
	case m.Data != nil:
		return m, "JSON " + string(m.Data)
	case m.DataBase64 != nil:
		b, err := base64.StdEncoding.DecodeString(*m.DataBase64)
		if err != nil {
			tb.Fatal(err)
		}
		return m, fmt.Sprintf("bytes %x", b)
	default:
		return m, fmt.Sprintf("bytes %x", m.Bytes)
	}
}

// TestCodecsMeet: what a client of either subprotocol publishes is received by clients
// of both, the same.
func TestCodecsMeet(t *testing.T) {
	long := make([]byte, 5000)
	for i := range long {
		long[i] = byte(i * i >> 3)
	}
	text := base64.StdEncoding.EncodeToString
	for _, publisher := range spoken {
		for _, tc := range []struct {
			name  string
			data  string
			bytes []byte
			want  string
		}{
			{"an object", `{"a": [1, "é"]}`, nil, `JSON {"a":[1,"é"]}`},
			{"null", `null`, nil, `JSON null`},
			{"bytes", "", []byte{0, 1, 0xff}, "bytes 0001ff"},
			{"no bytes", "", []byte{}, "bytes "},
			{"many bytes", "", long, fmt.Sprintf("bytes %x", long)},
		} {
			for _, deflate := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s from %s, compression %v", tc.name, publisher.name, deflate), func(t *testing.T) {
					n := start(t, nil, open())
					readers := make([]*speaker, len(spoken))
					for i, l := range spoken {
						readers[i] = n.speak(t, l.language, l.kind, deflate)
						readers[i].subscribe(uint64(i+1), "chat:a")
					}
					p := n.speak(t, publisher.language, publisher.kind, deflate)
					c := protocol.PublishCommand{Channel: "chat:a", IdempotencyKey: "k", Headers: map[string]string{"X": "é"}}
					switch {
					case tc.bytes == nil:
						c.Data = json.RawMessage(tc.data)
					case publisher.kind == gorilla.TextMessage:
						s := text(tc.bytes)
						c.DataBase64 = &s
					default:
						c.Bytes = tc.bytes
					}
					p.command(protocol.Command{ID: 9, Publish: &c})
					if ev := p.event(); ev.ID != 9 || ev.Published == nil || ev.Published.Offset != 1 || ev.Published.Channel != "chat:a" {
						t.Fatalf("got %s, want published", show(ev))
					}
					first, data := alike(t, readers[0].event())
					second, other := alike(t, readers[1].event())
					if data != tc.want || other != tc.want {
						t.Errorf("got %.80s and %.80s, want %.80s", data, other, tc.want)
					}
					for _, m := range []protocol.MessageEvent{first, second} {
						if m.Channel != "chat:a" || m.Offset != 1 || m.Position != first.Position || m.Time != 1000 || m.ID != "k" || m.Client != first.Client || !maps.Equal(m.Headers, c.Headers) {
							t.Errorf("got %+v", m)
						}
					}
				})
			}
		}
	}
}

// TestCommandsInBothCodecs: the answers do not depend on the subprotocol, nor does
// what is refused.
func TestCommandsInBothCodecs(t *testing.T) {
	for _, l := range spoken {
		t.Run(l.name, func(t *testing.T) {
			n := start(t, nil, open())
			s := n.speak(t, l.language, l.kind, false)
			s.command(protocol.Command{ID: 1, Connect: &protocol.ConnectCommand{Name: "test"}})
			if ev := s.event(); ev.ID != 1 || ev.Connected == nil || ev.Connected.PingInterval != 25 {
				t.Errorf("got %s", show(ev))
			}
			s.command(protocol.Command{Ping: &protocol.Ping{}})
			if ev := s.event(); ev.Pong == nil {
				t.Errorf("got %s", show(ev))
			}
			n.hub.Publish("chat:a", "1")
			s.command(protocol.Command{ID: 2, History: &protocol.HistoryCommand{Channel: "chat:a"}})
			if ev := s.event(); ev.ID != 2 || ev.History == nil || len(ev.History.Messages) != 1 || string(ev.History.Messages[0].Data) != "1" {
				t.Errorf("got %s", show(ev))
			}
			s.subscribe(3, "chat:a")
			for _, tc := range []struct {
				name    string
				command protocol.Command
				code    protocol.Code
				field   string
			}{
				{"twice", protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "chat:a"}}, protocol.ErrorConflict, "channel"},
				{"no channel", protocol.Command{Subscribe: &protocol.SubscribeCommand{}}, protocol.ErrorBadRequest, "channel"},
				{"not subscribed", protocol.Command{Unsubscribe: &protocol.UnsubscribeCommand{Channel: "chat:b"}}, protocol.ErrorNotFound, "channel"},
				{"no data", protocol.Command{Publish: &protocol.PublishCommand{Channel: "chat:a"}}, protocol.ErrorBadRequest, "data"},
				{"data that is no JSON", protocol.Command{Publish: &protocol.PublishCommand{Channel: "chat:a", Data: json.RawMessage(`{"a":1}{}`)}}, protocol.ErrorBadRequest, "data"},
				{"not supported", protocol.Command{Presence: &protocol.PresenceCommand{Channel: "chat:a"}}, protocol.ErrorNotSupported, "channel"},
				{"connect too late", protocol.Command{Connect: &protocol.ConnectCommand{}}, protocol.ErrorConflict, ""},
			} {
				if tc.name == "data that is no JSON" && l.name == "JSON" {
					continue // it would make the whole frame none
				}
				tc.command.ID = 40
				s.command(tc.command)
				if ev := s.event(); ev.ID != 40 || ev.Error == nil || ev.Error.Code != tc.code || ev.Error.Field != tc.field || ev.Error.Message == "" {
					t.Errorf("%s: got %s, want error %d on %q", tc.name, show(ev), tc.code, tc.field)
				}
			}
			s.command(protocol.Command{ID: 5, Unsubscribe: &protocol.UnsubscribeCommand{Channel: "chat:a"}})
			if ev := s.event(); ev.ID != 5 || ev.Unsubscribed == nil {
				t.Errorf("got %s", show(ev))
			}
		})
	}
}

// TestWrongKind: a message of the other kind, and one that is no command, end the
// connection.
func TestWrongKind(t *testing.T) {
	n := start(t, nil, open())
	ping := func(l language) []byte { return l.AppendCommand(nil, &protocol.Command{Ping: &protocol.Ping{}}) }
	for _, l := range spoken {
		for _, deflate := range []bool{false, true} {
			for _, tc := range []struct {
				name  string
				kind  int
				frame []byte
			}{
				{"the other kind", gorilla.TextMessage + gorilla.BinaryMessage - l.kind, ping(l)},
				{"no command", l.kind, nil},
				{"nothing of this protocol", l.kind, []byte("\xff\xff")},
				{"no id", l.kind, l.AppendCommand(nil, &protocol.Command{Subscribe: &protocol.SubscribeCommand{Channel: "chat:a"}})},
			} {
				t.Run(fmt.Sprintf("%s in %s, compression %v", tc.name, l.name, deflate), func(t *testing.T) {
					s := n.speak(t, l.language, l.kind, deflate)
					if err := s.WriteMessage(tc.kind, tc.frame); err != nil {
						t.Fatal(err)
					}
					want := protocol.CloseBadFrame
					if tc.name == "nothing of this protocol" && l.kind == gorilla.TextMessage {
						want = protocol.CloseInvalidText
					}
					s.wantClose(want)
				})
			}
		}
	}
}
