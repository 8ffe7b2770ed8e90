package conformance_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"testing"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// filler is so many bytes that tell if one is missing or out of place.
func filler(op wire.Opcode, n int) []byte {
	period := make([]byte, 251) // a prime: no buffer's size is a multiple
	for i := range period {
		period[i] = byte(i*7) & 0x7f
		if op == wire.Binary {
			period[i] ^= 0x80
		}
	}
	b := bytes.Repeat(period, n/len(period)+1)[:n]
	for i := 0; i+8 <= n; i += 4096 {
		copy(b[i:], fmt.Sprintf("%08x", i))
	}
	return b
}

// largeCases are Autobahn's 9.1 to 9.6: sizes, fragments and pieces.
func largeCases() []testCase {
	var cases []testCase
	for i, op := range []wire.Opcode{wire.Text, wire.Binary} {
		fragments := []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}
		if op == wire.Binary {
			fragments = []int{64, 64 << 10} // it is the same reading
		}
		for _, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20} {
			cases = append(cases, testCase{fmt.Sprintf("9.%d %d KiB", i+1, n>>10), func(s *script) { s.echo(op, filler(op, n)) }})
		}
		for _, n := range fragments {
			cases = append(cases, testCase{fmt.Sprintf("9.%d 4 MiB in fragments of %d", i+3, n), func(s *script) {
				payload := filler(op, 4<<20)
				s.send(wire.Cut(op, payload, n, 0)...)
				s.expect(op, payload)
			}})
		}
		for _, n := range []int{64, 128, 256, 512, 1024, 2048} {
			cases = append(cases, testCase{fmt.Sprintf("9.%d 1 MiB in pieces of %d", i+5, n), func(s *script) {
				s.chop = n
				s.echo(op, filler(op, 1<<20))
			}})
		}
	}
	return cases
}

// roundtripCases are 9.7 and 9.8: one message after the other.
func roundtripCases() []testCase {
	var cases []testCase
	for i, op := range []wire.Opcode{wire.Text, wire.Binary} {
		for _, n := range []int{0, 16, 64, 256, 1024, 4096, 16 << 10} {
			cases = append(cases, testCase{fmt.Sprintf("9.%d 1000 roundtrips of %d", i+7, n), func(s *script) {
				payload := filler(op, n)
				for range 1000 {
					s.echo(op, payload)
					s.await()
				}
			}})
		}
	}
	return cases
}

// overCases are over the limit, told in the header or found out.
func overCases() []testCase {
	return []testCase{
		{"a header over the limit", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Binary, Length: echoLimit + 1})
			s.refused(1009)
		}},
		{"a header of 2^62", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Binary, Length: 1 << 62})
			s.refused(1009)
		}},
		{"a negative length", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Binary, Length: 1<<63 + 5})
			s.refused(1002, 1009)
		}},
		{"fragments whose sum is over", func(s *script) {
			s.send(wire.Cut(wire.Binary, make([]byte, echoLimit+1), 4<<20, 0)...)
			s.refused(1009)
		}},
		{"fragments whose sum overflows", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Binary, Payload: []byte("x"), More: true}, wire.Frame{Length: 1<<63 - 1, More: true})
			s.refused(1009)
		}},
		{"a message at the limit", func(s *script) {
			// A node may allow more; it must not allow less.
			s.echo(wire.Binary, bytes.Repeat([]byte("x"), echoLimit))
		}},
	}
}

// pressureCases send far more than a client's window holds, so that the answers leave
// in parts, with pongs between them.
func pressureCases() []testCase {
	var cases []testCase
	for _, offer := range []string{"", plainOffer} {
		for _, chop := range []int{0, 1021, 100_000} {
			cases = append(cases, testCase{fmt.Sprintf("under pressure, offer %q, segments of %d", offer, chop), func(s *script) {
				s.offer, s.chop, s.window = offer, chop, 4<<10
				for i := range 120 {
					payload := corpus("noise", i*i*5)
					s.packed(wire.Binary, payload, 1+len(payload)/(1+i%3), offer != "" && i%2 == 0, flate.BestSpeed)
					for range i % 4 {
						s.ping(fmt.Append(nil, "ping ", i))
					}
				}
			}})
		}
	}
	return cases
}

// TestLimits (Autobahn 9).
func TestLimits(t *testing.T) {
	for _, e := range echoEndpoints() {
		t.Run(e.name, func(t *testing.T) {
			tg := e.start(t)
			runTable(t, tg, largeCases())
			runTable(t, tg, roundtripCases())
			runTable(t, tg, overCases())
			runTable(t, tg, pressureCases())
		})
	}
}
