package protocol_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Each codec's frame says the same: what one decodes, the other can carry.
func TestCodecsSayTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t, binaryFields)
		fromJSON, err := protocol.JSON{}.DecodeEvent(protocol.JSON{}.AppendEvent(nil, &e))
		if err != nil {
			t.Fatal(err)
		}
		got, err := protocol.Protobuf{}.DecodeEvent(protocol.Protobuf{}.AppendEvent(nil, &fromJSON))
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, e)
		}
	})
}

func TestProtobufCommandSharesNoMemory(t *testing.T) {
	frame := protocol.Protobuf{}.AppendCommand(nil, &protocol.Command{ID: 1, Publish: &protocol.PublishCommand{
		Channel: "chat:lobby", Data: json.RawMessage(`{"a":1}`), Bytes: []byte("raw"), Headers: map[string]string{"k": "v"},
	}})
	c, err := protocol.Protobuf{}.DecodeCommand(frame)
	if err != nil {
		t.Fatal(err)
	}
	for i := range frame {
		frame[i] = 'x'
	}
	p := c.Publish
	if p.Channel != "chat:lobby" || string(p.Data) != `{"a":1}` || string(p.Bytes) != "raw" || p.Headers["k"] != "v" {
		t.Errorf("the command changed with its frame: %+v", p)
	}
}

// Lengths of 1 to 4 bytes, guessed rightly and wrongly, behind what dst already has.
func TestProtobufLengths(t *testing.T) {
	for _, n := range []int{0, 1, 90, 100, 127, 128, 16_340, 16_383, 16_384, 2_097_100, 2_097_152} {
		for _, user := range []string{"", strings.Repeat("u", 60), strings.Repeat("u", 20_000)} {
			t.Run(fmt.Sprint(n, " ", len(user)), func(t *testing.T) {
				m := protocol.MessageEvent{Channel: "a:b", User: user, Bytes: bytes.Repeat([]byte{7}, n)}
				frame := protocol.Protobuf{}.AppendMessageEvent([]byte("prefix"), &m)
				rest, ok := bytes.CutPrefix(frame, []byte("prefix"))
				if !ok {
					t.Fatalf("dst is overwritten: %q", frame[:10])
				}
				got, err := protocol.Protobuf{}.DecodeEvent(rest)
				if err != nil || !reflect.DeepEqual(got, protocol.Event{Message: &m}) {
					t.Fatalf("%v, decoded %d bytes", err, len(got.Message.Bytes))
				}
				_, _, tag := protowire.ConsumeTag(rest)
				if length := len(rest) - tag; protowire.SizeBytes(length-protowire.SizeVarint(uint64(length))) != length {
					t.Errorf("the length of %d bytes is not the shortest", length)
				}
				if again := (protocol.Protobuf{}).AppendEvent([]byte("prefix"), &got); !bytes.Equal(again, frame) {
					t.Error("AppendEvent writes another frame than AppendMessageEvent")
				}
			})
		}
	}
}

// The node gives both codecs one form, of bytes as they are.
func TestBytesAreWrittenByBothCodecs(t *testing.T) {
	for _, raw := range [][]byte{{}, {0}, {0, 255}, []byte("abc"), bytes.Repeat([]byte{200}, 1000)} {
		m := protocol.MessageEvent{Channel: "a:b", Bytes: raw}
		e, err := protocol.JSON{}.DecodeEvent(protocol.JSON{}.AppendMessageEvent(nil, &m))
		if err != nil || e.Message.DataBase64 == nil || e.Message.Bytes != nil {
			t.Fatalf("%d bytes in JSON: %v, %+v", len(raw), err, e.Message)
		}
		frame := protocol.Protobuf{}.AppendMessageEvent(nil, &m)
		if fromText := (protocol.Protobuf{}).AppendEvent(nil, &e); !bytes.Equal(fromText, frame) {
			t.Errorf("%d bytes: from base64 %x, want %x", len(raw), fromText, frame)
		}
	}
	broken := protocol.Protobuf{}.AppendMessageEvent(nil, &protocol.MessageEvent{DataBase64: new("AAEC!")})
	if e, err := (protocol.Protobuf{}).DecodeEvent(broken); err != nil || string(e.Message.Bytes) != "\x00\x01\x02" {
		t.Errorf("what is not base64 becomes %+v, %v", e.Message, err)
	}
}

// As in JSON, one bad byte must not make a frame that no client can read.
func TestProtobufWritesUTF8(t *testing.T) {
	m := protocol.MessageEvent{
		Channel: "a\xff\xfeb", User: "\xe2\x82", Headers: map[string]string{"\xff": "\xff"}, Data: json.RawMessage("1"),
	}
	got, err := protocol.Protobuf{}.DecodeEvent(protocol.Protobuf{}.AppendMessageEvent(nil, &m))
	if err != nil {
		t.Fatal(err)
	}
	want, err := protocol.JSON{}.DecodeEvent(protocol.JSON{}.AppendMessageEvent(nil, &m))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, JSON has %+v, %v", got.Message, want.Message, err)
	}
}

func TestProtobufAppendDoesNotAllocate(t *testing.T) {
	binary := sampleMessage()
	binary.Data, binary.Bytes = nil, bytes.Repeat([]byte{1}, 1000)
	dst := make([]byte, 0, 4096)
	grouped := sampleMessage()
	grouped.ConflationKey, grouped.Updates, grouped.Group, grouped.Attempt, grouped.AckToken = "key", 7, "workers", 1, "t0k3n"
	for name, m := range map[string]*protocol.MessageEvent{"data": sampleMessage(), "bytes": binary, "of a group": grouped} {
		if n := testing.AllocsPerRun(100, func() { dst = protocol.Protobuf{}.AppendMessageEvent(dst[:0], m) }); n != 0 {
			t.Errorf("%s: %v allocations per message, want none", name, n)
		}
		if n := testing.AllocsPerRun(100, func() { dst = protocol.JSON{}.AppendMessageEvent(dst[:0], m) }); n != 0 {
			t.Errorf("%s: %v allocations per message in JSON, want none", name, n)
		}
	}
	e := protocol.Event{ID: 7, Published: &protocol.PublishedEvent{Channel: "chat:lobby", Offset: 9, Position: "p"}}
	if n := testing.AllocsPerRun(100, func() { dst = protocol.Protobuf{}.AppendEvent(dst[:0], &e) }); n != 0 {
		t.Errorf("%v allocations per reply, want none", n)
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestProtobufDecodersAllocateWithinBounds: what a frame makes of itself in memory.
func TestProtobufDecodersAllocateWithinBounds(t *testing.T) {
	const size = protocol.DefaultMaxFrame
	repeated := func(num protowire.Number, unit []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Repeat(unit, size/len(unit)))
	}
	commands := map[string][]byte{
		"pings":        bytes.Repeat([]byte{0x52, 0}, size/2),
		"publishes":    bytes.Repeat([]byte{0x2a, 0}, size/2),
		"positions":    repeated(3, []byte{0x1a, 0}),
		"headers":      repeated(5, []byte{0x2a, 0}),
		"two of data":  repeated(5, []byte{0x12, 1, '1'}),
		"unknown":      bytes.Repeat([]byte{0x7a, 0}, size/2),
		"false length": {0x2a, 0xff, 0xff, 0xff, 0xff, 0x0f},
	}
	for name, frame := range commands {
		t.Run(name, func(t *testing.T) {
			if n := allocated(func() { _, _ = protocol.Protobuf{}.DecodeCommand(frame) }); n > 64*size {
				t.Errorf("%d bytes for a frame of %d", n, len(frame))
			}
		})
	}
	for name, frame := range map[string][]byte{
		"messages":         repeated(6, []byte{0x12, 0}),
		"members":          repeated(17, []byte{0x12, 0}),
		"lists of members": repeated(17, slices.Concat(bytes.Repeat([]byte{0x12, 0}, 1000), bytes.Repeat([]byte{0x1a, 0}, 1000), bytes.Repeat([]byte{0x22, 0}, 1000))),
		"info":             repeated(17, []byte{0x12, 3, 0x1a, 1, '1'}),
	} {
		t.Run(name, func(t *testing.T) {
			if n := allocated(func() { _, _ = protocol.Protobuf{}.DecodeEvent(frame) }); n > 64*size {
				t.Errorf("%d bytes for a frame of %d", n, len(frame))
			}
		})
	}
}

func BenchmarkProtobufAppendMessage(b *testing.B) {
	m := sampleMessage()
	dst := protocol.Protobuf{}.AppendMessageEvent(nil, m)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		dst = protocol.Protobuf{}.AppendMessageEvent(dst[:0], m)
	}
}

func BenchmarkProtobufDecodeCommand(b *testing.B) {
	frame := protocol.Protobuf{}.AppendCommand(nil, &protocol.Command{ID: 1, Publish: &protocol.PublishCommand{
		Channel: "chat:lobby", Data: sampleMessage().Data, IdempotencyKey: "0190-key",
	}})
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (protocol.Protobuf{}).DecodeCommand(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProtobufDecodeMessage(b *testing.B) {
	frame := protocol.Protobuf{}.AppendMessageEvent(nil, sampleMessage())
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (protocol.Protobuf{}).DecodeEvent(frame); err != nil {
			b.Fatal(err)
		}
	}
}
