package conformance_test

import (
	"fmt"
	"testing"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// fragmentCases are Autobahn's 5.
func fragmentCases() []testCase {
	ping := func(s *script, text string) wire.Frame {
		s.expect(wire.Pong, []byte(text))
		return wire.Frame{Opcode: wire.Ping, Payload: []byte(text)}
	}
	return []testCase{
		{"5.1 a ping in fragments", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Ping, Payload: []byte("a"), More: true}, wire.Frame{Payload: []byte("b")})
			s.refused(1002)
		}},
		{"5.2 a pong in fragments", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Pong, Payload: []byte("a"), More: true}, wire.Frame{Payload: []byte("b")})
			s.refused(1002)
		}},
		{"a close in fragments", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(1000, ""), More: true}, wire.Frame{})
			s.refused(1002)
		}},
		{"5.9 a continuation of nothing", func(s *script) {
			s.send(wire.Frame{Payload: []byte("a")}, wire.Frame{Opcode: wire.Text, Payload: []byte("b")})
			s.refused(1002)
		}},
		{"5.12 a continuation of nothing that goes on", func(s *script) {
			s.send(wire.Frame{Payload: []byte("a"), More: true}, wire.Frame{Opcode: wire.Text, Payload: []byte("b")})
			s.refused(1002)
		}},
		{"5.15 a continuation behind a message", func(s *script) {
			frames, answer := s.pieces(2)
			s.send(frames...)
			s.expect(wire.Text, answer)
			s.send(wire.Frame{Payload: []byte("a"), More: true}, wire.Frame{Opcode: wire.Text, Payload: []byte("b")})
			s.refused(1002)
		}},
		{"5.18 a message inside a message", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Text, Payload: []byte("a"), More: true}, wire.Frame{Opcode: wire.Text, Payload: []byte("b")})
			s.refused(1002)
		}},
		{"5.18 binary inside a text", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Text, Payload: []byte("a"), More: true}, wire.Frame{Opcode: wire.Binary, More: true})
			s.refused(1002)
		}},
		{"5.19 pings are answered before the message is whole", func(s *script) {
			frames, answer := s.pieces(5)
			s.send(frames[0], frames[1], ping(s, "first"))
			s.await()
			s.send(frames[2], frames[3], ping(s, "second"))
			s.await()
			s.send(frames[4])
			s.expect(wire.Text, answer)
		}},
		{"5.20 the same in octets", func(s *script) {
			s.chop = 1
			frames, answer := s.pieces(5)
			s.send(frames[0], frames[1], ping(s, "first"))
			s.await()
			s.send(frames[2], frames[3], ping(s, "second"))
			s.await()
			s.send(frames[4])
			s.expect(wire.Text, answer)
		}},
		{"empty fragments", func(s *script) {
			text, answer := s.question()
			s.send(wire.Frame{Opcode: wire.Text, More: true}, wire.Frame{More: true}, wire.Frame{Payload: text, More: true}, wire.Frame{More: true}, wire.Frame{})
			s.expect(wire.Text, answer)
		}},
		{"a fragment for every octet", func(s *script) {
			text, answer := s.question()
			s.send(wire.Cut(wire.Text, text, 1, 0)...)
			s.expect(wire.Text, answer)
		}},
		{"a fragment, a ping and a pong for every octet, in octets", func(s *script) {
			s.chop = 1
			text, answer := s.question()
			for i, f := range wire.Cut(wire.Text, text, 1, 0) {
				s.send(f, wire.Frame{Opcode: wire.Pong})
				if f.More {
					s.ping(fmt.Append(nil, i))
				}
			}
			s.expect(wire.Text, answer)
		}},
		{"many messages in fragments in one segment", func(s *script) {
			for i := range 200 {
				frames, answer := s.pieces(1 + i%7)
				s.send(frames...)
				s.expect(wire.Text, answer)
			}
		}},
	}
}

// splitCases are 5.3 to 5.8: two fragments, with and without a ping between them, and
// each in one segment, in one per frame and in octets.
func splitCases() []testCase {
	var cases []testCase
	for _, between := range []bool{false, true} {
		for _, way := range []string{"one segment", "steps", "octets", "3 octets"} {
			cases = append(cases, testCase{fmt.Sprintf("5.3 two fragments, a ping between %t, %s", between, way), func(s *script) {
				s.chop = map[string]int{"octets": 1, "3 octets": 3}[way]
				frames, answer := s.pieces(2)
				s.send(frames[0])
				if way == "steps" {
					s.await()
				}
				if between {
					s.ping([]byte("between"))
				}
				if way == "steps" {
					s.await()
				}
				s.send(frames[1])
				s.expect(wire.Text, answer)
			}})
		}
	}
	return cases
}

// TestFragments (Autobahn 5).
func TestFragments(t *testing.T) {
	for _, e := range endpoints() {
		t.Run(e.name, func(t *testing.T) {
			tg := e.start(t)
			runTable(t, tg, fragmentCases())
			runTable(t, tg, splitCases())
		})
	}
}

// TestEveryCut sends a question cut into two segments at every place, and so with
// every place at which a reader may have to wait.
func TestEveryCut(t *testing.T) {
	for _, e := range endpoints() {
		t.Run(e.name, func(t *testing.T) {
			tg := e.start(t)
			s := &script{target: tg}
			frames, answer := s.pieces(2)
			first := wire.Bytes(frames[0], wire.Frame{Opcode: wire.Ping, Payload: []byte("p")}, frames[1])
			cases := make([]testCase, 0, len(first))
			for cut := 1; cut < len(first); cut++ {
				cases = append(cases, testCase{fmt.Sprint(cut), func(s *script) {
					s.raw(first[:cut:cut])
					s.steps = append(s.steps, step{})
					s.raw(first[cut:])
					s.expect(wire.Pong, []byte("p"))
					s.expect(wire.Text, answer)
					s.await()
					s.asked = 1
					s.ask()
				}})
			}
			runTable(t, tg, cases)
		})
	}
}
