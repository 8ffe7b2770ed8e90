package protocol_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/protocol"
)

// text draws strings with what JSON must escape.
var text = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "chat:lobby", "\u2028", "\x00\"\\"}))

func genData(t *rapid.T) json.RawMessage {
	var v any
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		v = map[string]any{text.Draw(t, "k"): []any{nil, true, 1.5, text.Draw(t, "v")}}
	case 1:
		v = text.Draw(t, "v")
	case 2:
		v = rapid.Int64().Draw(t, "v")
	}
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Which of the two fields of bytes is drawn: each codec decodes into its own.
const (
	textFields   = "DataBase64"
	binaryFields = "Bytes"
)

// fill gives every field of one command or event a drawn value.
func fill(t *rapid.T, v reflect.Value, bytesIn string) {
	for field, f := range v.Fields() {
		if (field.Name == textFields || field.Name == binaryFields) && field.Name != bytesIn {
			continue
		}
		switch p := f.Addr().Interface().(type) {
		case *json.RawMessage:
			*p = genData(t)
		case *[]protocol.MessageEvent:
			for range rapid.IntRange(0, 3).Draw(t, "messages") {
				var m protocol.MessageEvent
				fill(t, reflect.ValueOf(&m).Elem(), bytesIn)
				*p = append(*p, m)
			}
		case *[]protocol.Member:
			for range rapid.IntRange(0, 3).Draw(t, "members") {
				var m protocol.Member
				fill(t, reflect.ValueOf(&m).Elem(), bytesIn)
				*p = append(*p, m)
			}
		case *[]string:
			*p = rapid.SliceOfN(text, 1, 3).Draw(t, "list")
		case *map[string]string:
			*p = rapid.MapOfN(text, text, 1, 5).Draw(t, "map")
		case *[]byte:
			*p = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")
		case **string:
			*p = new(text.Draw(t, "pointer"))
		case **uint64:
			if rapid.Bool().Draw(t, "given") {
				*p = new(rapid.Uint64Range(0, protocol.MaxID).Draw(t, "pointer"))
			}
		case *string:
			*p = text.Draw(t, "string")
		case *bool:
			*p = rapid.Bool().Draw(t, "bool")
		case *int:
			*p = int(rapid.Int32().Draw(t, "int"))
		case *int64:
			*p = rapid.Int64Range(-protocol.MaxID, protocol.MaxID).Draw(t, "int64")
		case *uint64:
			*p = rapid.Uint64Range(0, protocol.MaxID).Draw(t, "uint64")
		case *protocol.Code:
			*p = protocol.Code(rapid.Uint16().Draw(t, "code"))
		default:
			t.Fatalf("no generator for %T", p)
		}
	}
}

// drawOne sets one of the pointer fields of a Command or Event.
func drawOne(t *rapid.T, v reflect.Value, bytesIn string) {
	i := rapid.IntRange(1, v.NumField()-1).Draw(t, "which")
	one := reflect.New(v.Field(i).Type().Elem())
	fill(t, one.Elem(), bytesIn)
	v.Field(i).Set(one)
}

func drawCommand(t *rapid.T, bytesIn string) protocol.Command {
	c := protocol.Command{ID: rapid.Uint64Range(1, protocol.MaxID).Draw(t, "id")}
	drawOne(t, reflect.ValueOf(&c).Elem(), bytesIn)
	return c
}

func drawEvent(t *rapid.T, bytesIn string) protocol.Event {
	e := protocol.Event{ID: rapid.Uint64Range(0, protocol.MaxID).Draw(t, "id")}
	drawOne(t, reflect.ValueOf(&e).Elem(), bytesIn)
	return e
}

func TestEveryCommandSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCommand(t, textFields)
		frame := protocol.JSON{}.AppendCommand(nil, &c)
		got, err := protocol.JSON{}.DecodeCommand(frame)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("%s: %v\ngot  %+v\nwant %+v", frame, err, got, c)
		}
		if want := marshal(t, &c); want != string(frame) {
			t.Fatalf("got  %s\nwant %s", frame, want)
		}
	})
}

func TestEveryEventSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t, textFields)
		frame := protocol.JSON{}.AppendEvent(nil, &e)
		got, err := protocol.JSON{}.DecodeEvent(frame)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%s: %v\ngot  %+v\nwant %+v", frame, err, got, e)
		}
		if e.History != nil && e.History.Messages == nil {
			e.History.Messages = []protocol.MessageEvent{}
		}
		if want := marshalEvent(t, &e); want != string(frame) {
			t.Fatalf("got  %s\nwant %s", frame, want)
		}
	})
}

// scheduled is a PublishedEvent that has a Schedule, whose tags cannot say that it is
// written otherwise.
type scheduled struct {
	Channel   string `json:"channel"`
	Offset    uint64 `json:"offset,omitempty"`
	Position  string `json:"position,omitempty"`
	Time      int64  `json:"time,omitempty"`
	Duplicate bool   `json:"duplicate"`
	Schedule  string `json:"schedule,omitempty"`
	DeliverAt int64  `json:"deliver_at,omitempty"`
}

// marshalEvent is what encoding/json makes of e.
func marshalEvent(t *rapid.T, e *protocol.Event) string {
	if e.Published == nil || e.Published.Schedule == "" {
		return marshal(t, e)
	}
	return marshal(t, struct {
		ID        uint64    `json:"id,omitempty"`
		Published scheduled `json:"published"`
	}{e.ID, scheduled(*e.Published)})
}

func TestDecodedCommandSharesNoMemory(t *testing.T) {
	frame := []byte(`{"id":1,"publish":{"channel":"chat:lobby","data":{"a":1},"headers":{"k":"v"}}}`)
	c, err := protocol.JSON{}.DecodeCommand(frame)
	if err != nil {
		t.Fatal(err)
	}
	for i := range frame {
		frame[i] = 'x'
	}
	if c.Publish.Channel != "chat:lobby" || string(c.Publish.Data) != `{"a":1}` || c.Publish.Headers["k"] != "v" {
		t.Errorf("the command changed with its frame: %+v", c.Publish)
	}
}

func TestCompactDataSharesNoMemory(t *testing.T) {
	raw := []byte(`{"a":1}`)
	got, err := protocol.CompactData(raw)
	if err != nil {
		t.Fatal(err)
	}
	raw[2] = 'z'
	if string(got) != `{"a":1}` {
		t.Errorf("the result changed with its input: %s", got)
	}
}

func sampleMessage() *protocol.MessageEvent {
	return &protocol.MessageEvent{
		Channel: "chat:lobby", Offset: 1043, Position: "a1B2c03x-su-1h6f3b2kq9s", Time: 1732290000123,
		ID: "0190-key", User: "ann", Client: "c17",
		Headers: map[string]string{"content-type": "application/json", "trace": "00-abc", "a": "b"},
		Data:    json.RawMessage(`{"text":"` + strings.Repeat("hello ", 30) + `"}`),
	}
}

func TestAppendMessageDoesNotAllocate(t *testing.T) {
	m := sampleMessage()
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { dst = protocol.JSON{}.AppendMessageEvent(dst[:0], m) }); n != 0 {
		t.Errorf("%v allocations per message, want none", n)
	}
	e := protocol.Event{ID: 7, Published: &protocol.PublishedEvent{Channel: "chat:lobby", Offset: 9, Position: "p"}}
	if n := testing.AllocsPerRun(100, func() { dst = protocol.JSON{}.AppendEvent(dst[:0], &e) }); n != 0 {
		t.Errorf("%v allocations per reply, want none", n)
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m := sampleMessage()
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = protocol.AppendMessage(dst[:0], m)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkMarshalMessage(b *testing.B) {
	m := sampleMessage()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompactData(b *testing.B) {
	for _, spaced := range []bool{false, true} {
		b.Run(fmt.Sprintf("spaced=%v", spaced), func(b *testing.B) {
			raw := []byte(sampleMessage().Data)
			if spaced {
				raw = []byte(`{ "text" : "` + strings.Repeat("hello ", 30) + `" }`)
			}
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := protocol.CompactData(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeCommand(b *testing.B) {
	frame := protocol.JSON{}.AppendCommand(nil, &protocol.Command{ID: 1, Publish: &protocol.PublishCommand{
		Channel: "chat:lobby", Data: sampleMessage().Data, IdempotencyKey: "0190-key",
	}})
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (protocol.JSON{}).DecodeCommand(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeMessage(b *testing.B) {
	frame := protocol.JSON{}.AppendMessageEvent(nil, sampleMessage())
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (protocol.JSON{}).DecodeEvent(frame); err != nil {
			b.Fatal(err)
		}
	}
}
