package conformance_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// closeCases are Autobahn's 7.
func closeCases() []testCase {
	behind := func(frames ...wire.Frame) func(s *script) {
		return func(s *script) {
			s.ask()
			s.close(wire.ClosePayload(1000, "bye"), 1000)
			s.send(frames...)
		}
	}
	cases := []testCase{
		{"7.1.1 after a message", func(s *script) { s.ask(); s.close(wire.ClosePayload(1000, ""), 1000) }},
		{"7.1.2 twice", behind(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(1000, "")})},
		{"7.1.3 a ping behind it", behind(wire.Frame{Opcode: wire.Ping})},
		{"7.1.4 a text behind it", behind(wire.Frame{Opcode: wire.Text, Payload: []byte(`{"id":9,"ping":{}}`)})},
		{"a broken frame behind it", behind(wire.Frame{Opcode: 3, RSV: wire.RSV2})},
		{"7.1.5 inside a message", func(s *script) {
			frames, _ := s.pieces(2)
			s.send(frames[0])
			s.close(wire.ClosePayload(1000, ""), 1000)
			s.send(frames[1])
		}},
		{"7.1.6 256 KiB behind it", behind(wire.Frame{Opcode: wire.Text, Payload: make([]byte, 256<<10)})},
		{"7.3.1 empty", func(s *script) { s.ask(); s.close(nil, 0) }},
		{"7.3.2 half a code", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Close, Payload: []byte{3}})
			s.refused(1002)
		}},
		{"7.3.3 a code", func(s *script) { s.close(wire.ClosePayload(1000, ""), 1000) }},
		{"7.3.4 a reason", func(s *script) { s.close(wire.ClosePayload(1000, "Hello, κόσμε"), 1000) }},
		{"7.3.5 the longest reason", func(s *script) { s.close(wire.ClosePayload(1000, strings.Repeat("*", 123)), 1000) }},
		{"7.3.6 126 bytes", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(1000, strings.Repeat("*", 124))})
			s.refused(1002)
		}},
		{"7.5.1 a reason that is not UTF-8", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(1000, "\xce\xba\xed\xa0\x80")})
			s.refused(1002, 1007)
		}},
		{"in octets", func(s *script) { s.chop = 1; s.ask(); s.close(wire.ClosePayload(4999, "Hello, κόσμε"), 4999) }},
		{"in one segment with what it follows", func(s *script) {
			for range 50 {
				s.ask()
			}
			s.ping([]byte("last"))
			s.close(wire.ClosePayload(1001, ""), 1001)
		}},
	}
	return cases
}

func closeCodes() []testCase {
	var cases []testCase
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999} {
		cases = append(cases, testCase{fmt.Sprint("7.7 code ", code), func(s *script) { s.close(wire.ClosePayload(code, ""), code) }})
	}
	// 1014 is registered for gateways; libraries differ, and both are right.
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cases = append(cases, testCase{fmt.Sprint("7.9 code ", code), func(s *script) {
			s.ask()
			s.send(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(code, "")})
			s.refused(1002)
		}})
	}
	return cases
}

// TestClose: a close frame is answered with its code, and is the end (Autobahn 7).
func TestClose(t *testing.T) {
	for _, e := range endpoints() {
		t.Run(e.name, func(t *testing.T) {
			tg := e.start(t)
			runTable(t, tg, closeCases())
			runTable(t, tg, closeCodes())
		})
	}
}
