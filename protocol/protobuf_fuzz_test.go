package protocol_test

import (
	"bytes"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/rivulet-rt/rivulet/protocol"
)

// mostPerByte bounds what decoding may allocate for each byte of a frame: an element
// of a list takes two bytes on the wire and a string header, grown twice, in memory.
const (
	mostPerByte = 64
	mostPerCall = 1 << 20 // among it MaxHistory messages, and what else runs meanwhile
)

func checkAllocated(t *testing.T, frame []byte, decode func()) {
	t.Helper()
	if n := allocated(decode); n > uint64(mostPerByte*len(frame)+mostPerCall) {
		t.Fatalf("%d bytes allocated for a frame of %d", n, len(frame))
	}
}

func FuzzProtobufDecodeCommand(f *testing.F) {
	addFrames(f, "protobuf", "commands", "invalid")
	codec := protocol.Protobuf{}
	commands := schema(f).Messages().ByName("Command")
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		var c protocol.Command
		var err error
		checkAllocated(t, frame, func() { c, err = codec.DecodeCommand(frame) })
		if !bytes.Equal(before, frame) {
			t.Fatal("DecodeCommand changed its input")
		}
		if err != nil {
			return
		}
		// Google's implementation may take more, never less.
		if err := proto.Unmarshal(frame, dynamicpb.NewMessage(commands)); err != nil {
			t.Fatalf("accepted %x: %v", frame, err)
		}
		encoded := codec.AppendCommand(nil, &c)
		again, err := codec.DecodeCommand(encoded)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("%x -> %+v -> %x -> %+v, %v", frame, c, encoded, again, err)
		}
		if c.Publish == nil || c.Publish.Data == nil {
			return
		}
		// Nothing gets past this codec that would break a subscriber in the other.
		c.Publish.Bytes = nil
		if _, err := (protocol.JSON{}).DecodeCommand(protocol.JSON{}.AppendCommand(nil, &c)); err != nil {
			t.Fatalf("%x is not for JSON: %v", frame, err)
		}
	})
}

func FuzzProtobufDecodeEvent(f *testing.F) {
	addFrames(f, "protobuf", "events", "invalid")
	codec := protocol.Protobuf{}
	events := schema(f).Messages().ByName("Event")
	f.Fuzz(func(t *testing.T, frame []byte) {
		var e protocol.Event
		var err error
		checkAllocated(t, frame, func() { e, err = codec.DecodeEvent(frame) })
		if err != nil {
			return
		}
		if err := proto.Unmarshal(frame, dynamicpb.NewMessage(events)); err != nil {
			t.Fatalf("accepted %x: %v", frame, err)
		}
		encoded := codec.AppendEvent(nil, &e)
		again, err := codec.DecodeEvent(encoded)
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%x -> %+v -> %x -> %+v, %v", frame, e, encoded, again, err)
		}
	})
}
