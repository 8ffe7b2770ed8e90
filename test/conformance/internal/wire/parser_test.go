package wire_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// unmasked are frames as a server sends them.
func unmasked(frames ...wire.Frame) []byte {
	for i := range frames {
		frames[i].Unmasked = true
	}
	return wire.Bytes(frames...)
}

// read parses everything.
func read(b []byte, deflate bool) (list []wire.Event, err error) {
	p := wire.NewParser(bufio.NewReader(bytes.NewReader(b)), deflate, 1<<20)
	for {
		ev, err := p.Next()
		if err != nil {
			return list, err
		}
		list = append(list, ev)
	}
}

func TestParserReads(t *testing.T) {
	packed := wire.Deflate(bytes.Repeat([]byte("x"), 1000), flate.BestSpeed)
	for _, tc := range []struct {
		name   string
		bytes  []byte
		events int
	}{
		{"nothing", nil, 0},
		{"text", unmasked(wire.Frame{Opcode: wire.Text, Payload: []byte("hé")}), 1},
		{"every length", unmasked(
			wire.Frame{Opcode: wire.Binary, Payload: make([]byte, 125)}, wire.Frame{Opcode: wire.Binary, Payload: make([]byte, 126)},
			wire.Frame{Opcode: wire.Binary, Payload: make([]byte, 65535)}, wire.Frame{Opcode: wire.Binary, Payload: make([]byte, 65536)}), 4},
		{"a ping inside a message", unmasked(wire.Frame{Opcode: wire.Text, More: true}, wire.Frame{Opcode: wire.Ping}, wire.Frame{}), 2},
		{"a code point in two fragments", unmasked(wire.Cut(wire.Text, []byte("é"), 1, 0)...), 1},
		{"compressed in two fragments", unmasked(wire.Cut(wire.Text, packed, len(packed)/2+1, wire.RSV1)...), 1},
		{"close", unmasked(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(1000, "é")}), 1},
		{"close without a code", unmasked(wire.Frame{Opcode: wire.Close}), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list, err := read(tc.bytes, true)
			if !errors.Is(err, io.EOF) || len(list) != tc.events {
				t.Errorf("got %d events and %v, want %d and EOF", len(list), err, tc.events)
			}
		})
	}
}

func TestParserRefuses(t *testing.T) {
	text := func(s string) wire.Frame { return wire.Frame{Opcode: wire.Text, Payload: []byte(s)} }
	raw := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tc := range []struct {
		name    string
		bytes   []byte
		deflate bool
	}{
		{"a masked frame", wire.Bytes(text("a")), false},
		{"RSV1 without the extension", unmasked(wire.Frame{Opcode: wire.Text, RSV: wire.RSV1}), false},
		{"RSV1 on a continuation", unmasked(wire.Frame{Opcode: wire.Text, More: true}, wire.Frame{RSV: wire.RSV1}), true},
		{"RSV1 on a ping", unmasked(wire.Frame{Opcode: wire.Ping, RSV: wire.RSV1}), true},
		{"RSV2", unmasked(wire.Frame{Opcode: wire.Text, RSV: wire.RSV2}), true},
		{"RSV3", unmasked(wire.Frame{Opcode: wire.Text, RSV: wire.RSV3}), true},
		{"opcode 3", unmasked(wire.Frame{Opcode: 3}), false},
		{"opcode 11", unmasked(wire.Frame{Opcode: 11}), false},
		{"a continuation of nothing", unmasked(wire.Frame{}), false},
		{"a message inside a message", unmasked(wire.Frame{Opcode: wire.Text, More: true}, text("")), false},
		{"a ping in fragments", unmasked(wire.Frame{Opcode: wire.Ping, More: true}), false},
		{"a ping of 126 bytes", unmasked(wire.Frame{Opcode: wire.Ping, Payload: make([]byte, 126)}), false},
		{"125 in two bytes", append(raw("82 7e 00 7d"), make([]byte, 125)...), false},
		{"65535 in eight bytes", append(raw("82 7f 00 00 00 00 00 00 ff ff"), make([]byte, 65535)...), false},
		{"a negative length", raw("82 7f 80 00 00 00 00 01 00 00"), false},
		{"text that is not UTF-8", unmasked(text("\xff")), false},
		{"a surrogate in fragments", unmasked(wire.Cut(wire.Text, []byte("\xed\xa0\x80"), 1, 0)...), false},
		{"half a close code", raw("88 01 03"), false},
		{"close code 1005", unmasked(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(1005, "")}), false},
		{"close code 2999", unmasked(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(2999, "")}), false},
		{"a reason that is not UTF-8", unmasked(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(1000, "\xff")}), false},
		{"data behind close", unmasked(wire.Frame{Opcode: wire.Close}, text("")), false},
		{"bad deflate", unmasked(wire.Frame{Opcode: wire.Text, RSV: wire.RSV1, Payload: []byte{0xff, 0xff}}), true},
		{"a bomb", unmasked(wire.Frame{Opcode: wire.Binary, RSV: wire.RSV1, Payload: wire.Deflate(make([]byte, 2<<20), flate.BestSpeed)}), true},
		{"over the limit", unmasked(wire.Frame{Opcode: wire.Binary, Payload: make([]byte, 1<<20+1)}), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if list, err := read(tc.bytes, tc.deflate); !errors.Is(err, wire.ErrViolation) {
				t.Errorf("got %d events and %v, want a violation", len(list), err)
			}
		})
	}
}

// TestInflate: every block counts, also behind one that says it is the last.
func TestInflate(t *testing.T) {
	const hello = "\xf3\x48\xcd\xc9\xc9\x07\x00" // RFC 7692 section 7.2.3.4
	for packed, want := range map[string]string{
		"\x00": "", hello: "Hello", hello + "\x00": "Hello", hello + hello + "\x00": "HelloHello",
	} {
		if got, err := wire.Inflate([]byte(packed), 10); err != nil || string(got) != want {
			t.Errorf("% x is %q, %v, want %q", packed, got, err, want)
		}
	}
	for name, packed := range map[string]string{"too long": hello + hello + hello, "no block": hello + "zzzzz"} {
		if got, err := wire.Inflate([]byte(packed), 10); !errors.Is(err, wire.ErrViolation) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// TestParserSeesTornFrames: an end inside a frame is none between frames.
func TestParserSeesTornFrames(t *testing.T) {
	whole := unmasked(wire.Frame{Opcode: wire.Binary, Payload: make([]byte, 200)})
	for n := 1; n < len(whole); n++ {
		if _, err := read(whole[:n], false); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("after %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestCheckAnswer(t *testing.T) {
	const both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, tc := range []struct {
		name, offer, answer string
		right               bool
	}{
		{"nothing for nothing", "", "", true},
		{"declined", "permessage-deflate", "", true},
		{"accepted", "permessage-deflate", both, true},
		{"the second offer", "permessage-deflate; server_max_window_bits=9, permessage-deflate", both, true},
		{"a limit that is met", "permessage-deflate; server_max_window_bits=12", both + "; server_max_window_bits=11", true},
		{"the client's bits", "permessage-deflate; client_max_window_bits", both + "; client_max_window_bits=9", true},
		{"not offered", "", both, false},
		{"with context", "permessage-deflate", "permessage-deflate", false},
		{"an unknown parameter", "permessage-deflate", both + "; x", false},
		{"a parameter twice", "permessage-deflate", both + "; client_no_context_takeover", false},
		{"two answers", "permessage-deflate", both + ", " + both, false},
		{"a limit passed over", "permessage-deflate; server_max_window_bits=12", both, false},
		{"a limit exceeded", "permessage-deflate; server_max_window_bits=12", both + "; server_max_window_bits=13", false},
		{"the client's bits unasked", "permessage-deflate", both + "; client_max_window_bits=9", false},
		{"an offer that is none", "permessage-deflate; server_max_window_bits=7", both, false},
		{"an offer with a twin", "permessage-deflate; server_no_context_takeover; server_no_context_takeover", both, false},
		{"an offer with a stranger", "permessage-deflate; x=1", both, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := wire.CheckAnswer(tc.offer, tc.answer)
			if tc.right != (err == nil) || err != nil && !errors.Is(err, wire.ErrViolation) {
				t.Errorf("got %v, want it to be right: %t", err, tc.right)
			}
		})
	}
}
