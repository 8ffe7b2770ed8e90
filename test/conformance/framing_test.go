package conformance_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// TestFraming: messages of every form of length come back as they went (Autobahn 1).
func TestFraming(t *testing.T) {
	var cases []testCase
	for i, op := range []wire.Opcode{wire.Text, wire.Binary} {
		for j, n := range []int{0, 125, 126, 127, 128, 65535, 65536, 65536} {
			chop := 0
			if j == 7 {
				chop = 997
			}
			cases = append(cases, testCase{fmt.Sprintf("1.%d.%d %d bytes", i+1, j+1, n), func(s *script) {
				s.chop = chop
				s.echo(op, bytes.Repeat([]byte{'*'}, n))
			}})
		}
		cases = append(cases, testCase{fmt.Sprintf("1.%d.9 octets", i+1), func(s *script) {
			s.chop = 1
			for _, n := range []int{0, 1, 125, 126, 127, 128, 4000} {
				s.echo(op, bytes.Repeat([]byte{'+'}, n))
			}
		}}, testCase{fmt.Sprintf("1.%d.10 all in one segment", i+1), func(s *script) {
			for n := range 300 {
				s.echo(op, bytes.Repeat([]byte{'-'}, n))
			}
		}})
	}
	for _, e := range echoEndpoints() {
		t.Run(e.name, func(t *testing.T) { runTable(t, e.start(t), cases) })
	}
}

// TestPings: every ping is answered, in order, and a pong by nobody (Autobahn 2).
func TestPings(t *testing.T) {
	full := bytes.Repeat([]byte{0xfe}, 125)
	cases := []testCase{
		{"2.1 empty", func(s *script) { s.ping(nil) }},
		{"2.2 text", func(s *script) { s.ping([]byte("Hello, world!")) }},
		{"2.3 bytes", func(s *script) { s.ping([]byte{0, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0, 0xff}) }},
		{"2.4 125 bytes", func(s *script) { s.ping(full) }},
		{"2.5 126 bytes", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Ping, Payload: make([]byte, 126)})
			s.refused(1002)
		}},
		{"2.6 octets", func(s *script) { s.chop = 1; s.ping(full) }},
		{"2.7 a pong", func(s *script) { s.send(wire.Frame{Opcode: wire.Pong}); s.ask() }},
		{"2.8 a pong with a payload", func(s *script) { s.send(wire.Frame{Opcode: wire.Pong, Payload: full}); s.ask() }},
		{"2.9 a pong and a ping", func(s *script) { s.send(wire.Frame{Opcode: wire.Pong, Payload: full}); s.ping([]byte("ping")) }},
		{"2.10 ten", func(s *script) {
			for i := range 10 {
				s.ping(fmt.Append(nil, "payload ", i))
			}
		}},
		{"2.11 ten in octets", func(s *script) {
			s.chop = 1
			for i := range 10 {
				s.ping(fmt.Append(nil, "payload ", i))
			}
		}},
		{"2.12 a pong of 126 bytes", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Pong, Payload: make([]byte, 126)})
			s.refused(1002)
		}},
		{"2.13 between questions", func(s *script) {
			for i := range 100 {
				s.ask()
				s.ping(fmt.Append(nil, i))
			}
		}},
	}
	for _, e := range endpoints() {
		t.Run(e.name, func(t *testing.T) { runTable(t, e.start(t), cases) })
	}
}

// TestReservedBits: nobody has negotiated a meaning (Autobahn 3).
func TestReservedBits(t *testing.T) {
	var cases []testCase
	for _, rsv := range []byte{wire.RSV1, wire.RSV2, wire.RSV3, wire.RSV1 | wire.RSV2, wire.RSV1 | wire.RSV3, wire.RSV2 | wire.RSV3, wire.RSV1 | wire.RSV2 | wire.RSV3} {
		for _, op := range []wire.Opcode{wire.Text, wire.Binary, wire.Ping, wire.Pong, wire.Close} {
			cases = append(cases, testCase{fmt.Sprintf("3.%d opcode %d", rsv>>4, op), func(s *script) {
				s.ask()
				s.send(wire.Frame{Opcode: op, RSV: rsv})
				s.refused(1002)
			}})
		}
		cases = append(cases, testCase{fmt.Sprintf("3.%d octets", rsv>>4), func(s *script) {
			s.chop = 1
			s.ask()
			s.send(wire.Frame{Opcode: wire.Text, RSV: rsv, Payload: []byte("x")}, wire.Frame{Opcode: wire.Ping})
			s.refused(1002)
		}}, testCase{fmt.Sprintf("3.%d continuation", rsv>>4), func(s *script) {
			frames, _ := s.pieces(2)
			frames[1].RSV = rsv
			s.send(frames...)
			s.refused(1002)
		}})
	}
	for _, e := range endpoints() {
		t.Run(e.name, func(t *testing.T) { runTable(t, e.start(t), cases) })
	}
}

// TestReservedOpcodes (Autobahn 4).
func TestReservedOpcodes(t *testing.T) {
	var cases []testCase
	for i, list := range [][]wire.Opcode{{3, 4, 5, 6, 7}, {11, 12, 13, 14, 15}} {
		for j, op := range list {
			for k, payload := range []string{"", "payload", strings.Repeat("x", 126)} {
				cases = append(cases, testCase{fmt.Sprintf("4.%d.%d opcode %d, %d bytes", i+1, j+1, op, len(payload)), func(s *script) {
					s.chop = k % 2
					s.ask()
					s.send(wire.Frame{Opcode: op, Payload: []byte(payload)}, wire.Frame{Opcode: wire.Ping})
					s.refused(1002)
				}})
			}
			cases = append(cases, testCase{fmt.Sprintf("4.%d.%d opcode %d inside a message", i+1, j+1, op), func(s *script) {
				frames, _ := s.pieces(2)
				s.send(frames[0], wire.Frame{Opcode: op}, frames[1])
				s.refused(1002)
			}})
		}
	}
	for _, e := range endpoints() {
		t.Run(e.name, func(t *testing.T) { runTable(t, e.start(t), cases) })
	}
}

// TestMasks: what a client sends is masked (RFC 6455 section 5.1).
func TestMasks(t *testing.T) {
	var cases []testCase
	for _, op := range []wire.Opcode{wire.Text, wire.Binary, wire.Ping, wire.Pong, wire.Close} {
		cases = append(cases, testCase{fmt.Sprintf("opcode %d", op), func(s *script) {
			s.ask()
			s.send(wire.Frame{Opcode: op, Unmasked: true})
			s.refused(1002)
		}})
	}
	cases = append(cases, testCase{"continuation", func(s *script) {
		frames, _ := s.pieces(2)
		frames[1].Unmasked = true
		s.send(frames...)
		s.refused(1002)
	}}, testCase{"every byte of a key", func(s *script) {
		for range 256 { // keys are random
			s.ask()
		}
	}})
	for _, e := range endpoints() {
		t.Run(e.name, func(t *testing.T) { runTable(t, e.start(t), cases) })
	}
}
