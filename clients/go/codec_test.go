package rivulet_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

func inProtobuf() rivulet.Options {
	opts := quick()
	opts.Codec = rivulet.CodecProtobuf
	return opts
}

func TestProtobufPublish(t *testing.T) {
	tests := []struct {
		name string
		data any
		want protocol.PublishCommand
	}{
		{"a map", map[string]int{"a": 1}, protocol.PublishCommand{Data: json.RawMessage(`{"a":1}`)}},
		{"nil", nil, protocol.PublishCommand{Data: json.RawMessage("null")}},
		{"bytes", []byte{0, 255}, protocol.PublishCommand{Bytes: []byte{0, 255}}},
		{"no bytes", []byte{}, protocol.PublishCommand{Bytes: []byte{}}},
		{"nil bytes", []byte(nil), protocol.PublishCommand{Bytes: []byte{}}},
	}
	asked := make(chan *protocol.PublishCommand, 1)
	c := open(t, scripted(t, func(p *peer) {
		if got := p.header.Get("Sec-WebSocket-Protocol"); got != "rivulet.v1.protobuf, rivulet.v1.json" {
			t.Errorf("the client offers %q", got)
		}
		p.greet()
		for {
			cmd := p.receive()
			asked <- cmd.Publish
			p.stored(cmd, false)
		}
	}), inProtobuf())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := rivulet.PublishOptions{IdempotencyKey: "k", Headers: map[string]string{"h": "v"}}
			got, err := c.Publish(limit(t), "lobby", tt.data, opts)
			if err != nil || got.Offset != 7 || got.Position != at(7) || got.Time.UnixMilli() != 1732290000123 {
				t.Fatalf("published %+v, %v", got, err)
			}
			want := tt.want
			want.Channel, want.IdempotencyKey, want.Headers = "default:lobby", "k", opts.Headers
			if cmd := await(t, asked); !reflect.DeepEqual(*cmd, want) {
				t.Errorf("asked for %+v, want %+v", *cmd, want)
			}
		})
	}
}

func TestProtobufAnswersPings(t *testing.T) {
	ponged := make(chan *protocol.Command, 1)
	open(t, scripted(t, func(p *peer) {
		p.greet()
		p.send(protocol.Event{Ping: &protocol.Ping{}})
		ponged <- p.receive()
		p.idle()
	}), inProtobuf())
	if c := await(t, ponged); c.Pong == nil || c.ID != 0 {
		t.Errorf("answered %+v", c)
	}
}

// A frame that is none of the codec ends the connection, not the client.
func TestProtobufComesBackAfterABadFrame(t *testing.T) {
	tests := []struct {
		name  string
		kind  int
		frame []byte
	}{
		{"text", websocket.TextMessage, []byte(`{"ping":{}}`)},
		{"cut off", websocket.BinaryMessage, []byte{0x3a, 0x02}},
		{"JSON in a binary frame", websocket.BinaryMessage, []byte(`{"ping":{}}`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			back := make(chan struct{}, 1)
			open(t, scripted(t, func(p *peer) {
				p.greet()
				if p.n == 1 {
					_ = p.ws.WriteMessage(tt.kind, tt.frame)
				} else {
					back <- struct{}{}
				}
				p.idle()
			}), inProtobuf())
			await(t, back)
		})
	}
}

// A cluster of several versions: whichever node it gets, the client goes on.
func TestProtobufFallsBackToJSON(t *testing.T) {
	for name, subprotocols := range map[string][]string{"JSON only": {protocol.SubprotocolJSON}, "none at all": nil} {
		t.Run(name, func(t *testing.T) {
			c := open(t, speaking(t, func(p *peer) {
				p.greet()
				p.stored(p.receive(), false)
				p.idle()
			}, subprotocols...), inProtobuf())
			if _, err := c.Publish(limit(t), "a:b", []byte{1}, rivulet.PublishOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSubprotocolThatWasNotOffered(t *testing.T) {
	retried := make(chan error, 1)
	opts := quick()
	opts.OnState = func(s rivulet.StateChange) {
		if s.State == rivulet.StateRetrying {
			select {
			case retried <- s.Reason:
			default:
			}
		}
	}
	var upgrader websocket.Upgrader
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, http.Header{"Sec-WebSocket-Protocol": {protocol.SubprotocolProtobuf}})
		if err == nil {
			_ = ws.Close()
		}
	}))
	c := unconnected(t, url, opts)
	ctx, cancel := context.WithCancel(limit(t))
	cancel()
	_ = c.Connect(ctx) // which only starts it
	if err := await(t, retried); !strings.Contains(err.Error(), "rivulet.v1.protobuf") {
		t.Errorf("error %v does not name the subprotocol", err)
	}
}

func TestUnknownCodecIsRefused(t *testing.T) {
	if _, err := rivulet.New("http://node", rivulet.Options{Codec: 9}); err == nil || !strings.Contains(err.Error(), "Options.Codec is 9") {
		t.Errorf("error %v", err)
	}
}

// TestMessageVectors: what the golden vectors say a message is, in either codec.
func TestMessageVectors(t *testing.T) {
	for _, opts := range []rivulet.Options{quick(), inProtobuf()} {
		for _, v := range messageVectors(t) {
			frame, codec := []byte(v.JSON), "json"
			if opts.Codec == rivulet.CodecProtobuf {
				frame, codec = v.binary(t), "protobuf"
			}
			t.Run(v.Name+"/"+codec, func(t *testing.T) {
				want := v.Value.Message
				url := scripted(t, func(p *peer) {
					p.greet()
					p.subscribed(protocol.SubscribedEvent{Position: at(0), Recovered: true})
					p.sendFrame(frame)
					p.idle()
				})
				checkMessage(t, firstMessage(t, open(t, url, opts), want), want)
			})
		}
	}
}

// firstMessage returns what comes first of the channel, or the group, of a message.
func firstMessage(t *testing.T, c *rivulet.Client, want *protocol.MessageEvent) *rivulet.Message {
	t.Helper()
	if want.Group != "" {
		g, err := c.Join(limit(t), want.Channel, want.Group, rivulet.GroupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return wantJob(t, g, want.Offset, want.Attempt).Message
	}
	for m, err := range subscribe(t, c, want.Channel, rivulet.SubscribeOptions{}).Messages(limit(t)) {
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatal("the range has ended")
	return nil
}

type messageVector struct {
	Name, JSON, Protobuf string
	Value                struct{ Message *protocol.MessageEvent }
}

func (v *messageVector) binary(t *testing.T) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.Protobuf)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func messageVectors(t *testing.T) []messageVector {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "protocol", "testdata", "vectors", "events.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []messageVector }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	list := slices.DeleteFunc(file.Vectors, func(v messageVector) bool { return v.Value.Message == nil })
	if len(list) < 5 {
		t.Fatalf("only %d vectors of messages", len(list))
	}
	return list
}

func checkMessage(t *testing.T, got *rivulet.Message, want *protocol.MessageEvent) {
	t.Helper()
	if got.Channel != want.Channel || got.Offset != want.Offset || got.Position != want.Position || got.Time.UnixMilli() != want.Time ||
		got.ID != want.ID || got.User != want.User || got.Client != want.Client || !reflect.DeepEqual(got.Headers, want.Headers) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if want.DataBase64 != nil {
		b, err := base64.StdEncoding.DecodeString(*want.DataBase64)
		if err != nil || !slices.Equal(got.Bytes, b) || got.Data != nil {
			t.Errorf("bytes %x, want %x (%v)", got.Bytes, b, err)
		}
		return
	}
	var a, b any
	if json.Unmarshal(got.Data, &a) != nil || json.Unmarshal(want.Data, &b) != nil || !reflect.DeepEqual(a, b) || got.Bytes != nil {
		t.Errorf("data %s, want %s", got.Data, want.Data)
	}
}
