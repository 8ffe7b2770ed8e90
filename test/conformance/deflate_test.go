package conformance_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

const plainOffer = "permessage-deflate"

// acceptable are offers that a server which keeps no context and has one window
// must accept; the second list it must decline, and go on without compression.
var (
	acceptable = []string{
		plainOffer,
		"permessage-deflate; client_no_context_takeover",
		"permessage-deflate; server_no_context_takeover",
		"permessage-deflate; client_no_context_takeover; server_no_context_takeover",
		"permessage-deflate; client_max_window_bits",
		"permessage-deflate; client_max_window_bits=9",
		`permessage-deflate; client_max_window_bits="15"; client_no_context_takeover`,
		"x-unknown; a=1, permessage-deflate",
		"permessage-deflate; server_max_window_bits=7, permessage-deflate; client_max_window_bits",
		"permessage-deflate; nonsense, permessage-deflate",
	}
	// Where the window is limited a server may also accept, and keep to it.
	declined = []string{
		"permessage-deflate; server_max_window_bits=9",
		"permessage-deflate; server_max_window_bits=7",
		"permessage-deflate; server_max_window_bits=16",
		"permessage-deflate; server_max_window_bits",
		"permessage-deflate; client_max_window_bits=16",
		"permessage-deflate; client_max_window_bits=08",
		"permessage-deflate; server_no_context_takeover=1",
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
		"permessage-deflate; nonsense",
		"x-webkit-deflate-frame", "permessage-bzip2", "x-unknown",
	}
)

// TestNegotiation: what is answered is checked by the client at every handshake
// (Autobahn 13).
func TestNegotiation(t *testing.T) {
	for _, e := range echoEndpoints() {
		t.Run(e.name, func(t *testing.T) {
			tg := e.start(t)
			for want, list := range map[bool][]string{true: acceptable, false: declined} {
				for _, offer := range list {
					t.Run(offer, func(t *testing.T) { checkOffer(t, tg, offer, want) })
				}
			}
			t.Run("no offer", func(t *testing.T) { checkOffer(t, tg, "", false) })
		})
	}
}

func checkOffer(t *testing.T, tg target, offer string, accepted bool) {
	t.Helper()
	d := tg.dialer()
	d.Offer = offer
	c, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := c.Extensions
	_ = c.Close()
	if accepted && got == "" || !accepted && got != "" && !strings.Contains(got, wire.ServerWindowBits) {
		t.Errorf("answered with %q, want it accepted: %t", got, accepted)
	}
	runTable(t, tg, []testCase{{"messages", func(s *script) {
		s.offer = offer
		for n := range 20 {
			s.packed(wire.Text, filler(wire.Text, n*n*50), 1<<20, got != "", flate.BestSpeed)
		}
	}}})
}

// packed sends a message in fragments of n bytes, compressed or not, and wants it back.
func (s *script) packed(op wire.Opcode, payload []byte, n int, compressed bool, level int) {
	if compressed {
		s.send(wire.Cut(op, wire.Deflate(payload, level), n, wire.RSV1)...)
	} else {
		s.send(wire.Cut(op, payload, n, 0)...)
	}
	s.expect(op, payload)
}

// corpus is JSON as is usual, text of one letter, or noise.
func corpus(kind string, n int) []byte {
	switch kind {
	case "json":
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, `{"id":%d,"user":"user-%d","text":"κόσμε %x"},`, i, i%13, i*7919)
		}
		return []byte(strings.ToValidUTF8(b.String()[:n], ""))
	case "zeros":
		return make([]byte, n)
	}
	r, b := rand.New(rand.NewPCG(1, uint64(n))), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// volumeCases are Autobahn's 12: many messages of sizes from 16 bytes to 128 KiB.
func volumeCases() []testCase {
	var cases []testCase
	for _, kind := range []string{"json", "zeros", "noise"} {
		for _, n := range []int{16, 64, 256, 1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10} {
			for _, cut := range []int{1 << 20, 256} {
				cases = append(cases, testCase{fmt.Sprintf("12 %s of %d in fragments of %d", kind, n, cut), func(s *script) {
					s.offer = plainOffer
					payload, op := corpus(kind, n), wire.Binary
					if kind == "json" {
						op = wire.Text
					}
					for i := range 4 + (64<<10)/n/200 {
						s.packed(op, payload, cut, i%4 != 3, []int{flate.BestSpeed, flate.BestCompression, flate.HuffmanOnly, flate.NoCompression}[i%4])
					}
				}})
			}
		}
	}
	return cases
}

// lastBlocks compresses each part into blocks of which the last says that it is (RFC
// 7692 section 7.2.3.4), and which may refer to the parts before.
func lastBlocks(parts ...string) []byte {
	var b bytes.Buffer
	before := ""
	for _, p := range parts {
		w, err := flate.NewWriterDict(&b, flate.BestSpeed, []byte(before))
		if err != nil {
			panic(err) // a level that does not exist
		}
		_, err = w.Write([]byte(p))
		if err = errors.Join(err, w.Close()); err != nil {
			panic(err) // a buffer takes everything
		}
		before += p
	}
	b.WriteByte(0) // and of an empty block what is not left out
	return b.Bytes()
}

func deflateCases() []testCase {
	packed := wire.Deflate([]byte(strings.Repeat("Hello, κόσμε ", 50)), flate.BestSpeed)
	half := len(packed) / 2
	first := wire.Frame{Opcode: wire.Text, RSV: wire.RSV1, Payload: packed[:half], More: true}
	bad := func(frames ...wire.Frame) func(s *script) {
		return func(s *script) {
			s.offer = plainOffer
			s.send(append(frames, wire.Frame{Opcode: wire.Close})...) // who passes over it says so at once
			s.refused(1002)
		}
	}
	corrupt := func(payload []byte) func(s *script) {
		return func(s *script) {
			s.offer = plainOffer
			s.send(wire.Frame{Opcode: wire.Binary, RSV: wire.RSV1, Payload: payload})
			s.refused(1002, 1007)
		}
	}
	return []testCase{
		{"RSV1 on a continuation", bad(first, wire.Frame{Payload: packed[half:], RSV: wire.RSV1})},
		{"RSV1 on a continuation of a plain message", bad(wire.Frame{Opcode: wire.Text, More: true}, wire.Frame{RSV: wire.RSV1})},
		{"RSV1 on a ping", bad(wire.Frame{Opcode: wire.Ping, RSV: wire.RSV1})},
		{"RSV1 on a pong", bad(wire.Frame{Opcode: wire.Pong, RSV: wire.RSV1})},
		{"RSV1 on a close", bad(wire.Frame{Opcode: wire.Close, RSV: wire.RSV1})},
		{"RSV2", bad(wire.Frame{Opcode: wire.Text, RSV: wire.RSV1 | wire.RSV2})},
		{"RSV3", bad(wire.Frame{Opcode: wire.Text, RSV: wire.RSV3})},
		{"corrupt", corrupt([]byte{0xff, 0xff, 0xff})},
		{"a block type that is none", corrupt([]byte{0x07})},
		{"a distance too far back", corrupt([]byte{0x4b, 0x04, 0x92, 0x00, 0x21})},
		{"a stored block that is cut", corrupt([]byte{0x00, 0x10, 0x00, 0xef, 0xff, 'a'})},
		{"text that is not UTF-8 when inflated", func(s *script) {
			s.offer = plainOffer
			s.send(wire.Frame{Opcode: wire.Text, RSV: wire.RSV1, Payload: wire.Deflate([]byte("abc\xed\xa0\x80"), flate.BestSpeed)})
			s.refused(1007)
		}},
		{"empty", func(s *script) {
			s.offer = plainOffer
			for i := range 10 {
				s.packed(wire.Text, nil, 100, i%2 == 0, flate.BestSpeed)
			}
			s.send(wire.Frame{Opcode: wire.Text, RSV: wire.RSV1, Payload: []byte{0x00}}) // as RFC 7692 section 7.2.3.6 has it
			s.expect(wire.Text, nil)
		}},
		{"a last block", func(s *script) {
			s.offer = plainOffer
			s.send(wire.Frame{Opcode: wire.Text, RSV: wire.RSV1, Payload: fromHex("f348cdc9c9070000")}) // RFC 7692 section 7.2.3.4
			s.expect(wire.Text, []byte("Hello"))
			s.packed(wire.Text, []byte("after it"), 100, true, flate.BestSpeed)
		}},
		{"a last block before the end", func(s *script) {
			s.offer = plainOffer
			for _, n := range []int{1 << 20, 9} { // in one frame, and in fragments, the first of which ends with it
				s.send(wire.Cut(wire.Text, lastBlocks("Hello, ", "Hello, world"), n, wire.RSV1)...)
				s.expect(wire.Text, []byte("Hello, Hello, world"))
				s.packed(wire.Text, []byte("after it"), 100, true, flate.BestSpeed)
			}
		}},
		{"two blocks", func(s *script) {
			s.offer = plainOffer
			s.send(wire.Frame{Opcode: wire.Text, RSV: wire.RSV1, Payload: fromHex("f24805000000ffffcac9c90700")}) // section 7.2.3.5
			s.expect(wire.Text, []byte("Hello"))
		}},
		{"pings between fragments", func(s *script) {
			s.offer, s.chop = plainOffer, 1
			for _, f := range wire.Cut(wire.Text, packed, 7, wire.RSV1) {
				s.send(f)
				if f.More {
					s.ping([]byte("between"))
				}
			}
			s.expect(wire.Text, []byte(strings.Repeat("Hello, κόσμε ", 50)))
		}},
		{"a message of 16 MiB", func(s *script) {
			s.offer = plainOffer
			s.packed(wire.Binary, filler(wire.Binary, 16<<20), 4096, true, flate.BestSpeed)
		}},
	}
}

// TestDeflate (RFC 7692, Autobahn 12).
func TestDeflate(t *testing.T) {
	for _, e := range echoEndpoints() {
		t.Run(e.name, func(t *testing.T) {
			tg := e.start(t)
			runTable(t, tg, deflateCases())
			runTable(t, tg, volumeCases())
		})
	}
}

// TestBomb: a message that would be too large when inflated is refused, and not
// inflated first.
func TestBomb(t *testing.T) {
	const mib = 1024
	bomb := bombOf(mib)
	t.Logf("%d bytes inflate to %d MiB", len(bomb), mib)
	for _, e := range echoEndpoints() {
		t.Run(e.name, func(t *testing.T) {
			tg := e.start(t)
			peak := watchHeap(t)
			runTable(t, tg, []testCase{{"bomb", func(s *script) {
				s.offer = plainOffer
				s.send(wire.Cut(wire.Binary, bomb, 16<<10, wire.RSV1)...)
				s.refused(1009)
			}}})
			// A buffer that doubles, its predecessors until they are collected, and on a busy
			// machine what came before; all of it would be 1 GiB.
			if got := peak(); got > 10*echoLimit {
				t.Errorf("the heap grew by %d MiB", got>>20)
			}
		})
	}
}
