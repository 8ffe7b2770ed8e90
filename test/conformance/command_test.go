package conformance_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// commandOf is a command padded to so many bytes.
func commandOf(id, size int) []byte {
	b := fmt.Appendf(nil, `{"id":%d,"ping":{},"x":"`, id)
	return append(append(b, bytes.Repeat([]byte("x"), size-len(b)-2)...), `"}`...)
}

// TestCommands: a command is a message, whatever frames and segments it comes in.
func TestCommands(t *testing.T) {
	pong := func(s *script, id int) { s.expect(wire.Text, fmt.Appendf(nil, `{"id":%d,"pong":{}}`, id)) }
	var cases []testCase
	for _, n := range []int{125, 126, 127, 128, 255, 256, 257, 4095, 4096, 4097, 65535, protocol.DefaultMaxFrame} {
		for _, chop := range []int{0, 1, 7, 1000} {
			cases = append(cases, testCase{fmt.Sprintf("%d bytes in segments of %d", n, chop), func(s *script) {
				if s.chop = chop; chop == 1 && n > 5000 {
					s.chop = 11
				}
				s.send(wire.Frame{Opcode: wire.Text, Payload: commandOf(1, n)})
				pong(s, 1)
				s.send(wire.Cut(wire.Text, commandOf(2, n), n/5, 0)...)
				pong(s, 2)
			}})
		}
	}
	cases = append(
		cases,
		testCase{"one byte over the limit", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Text, Payload: commandOf(1, protocol.DefaultMaxFrame+1)})
			s.refused(1009, 4203)
		}},
		testCase{"one byte over the limit in fragments", func(s *script) {
			s.send(wire.Cut(wire.Text, commandOf(1, protocol.DefaultMaxFrame+1), 4000, 0)...)
			s.refused(1009, 4203)
		}},
		testCase{"a header over the limit", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Text, Length: 1 << 40})
			s.refused(1009, 4203)
		}},
		testCase{"2000 in few segments", func(s *script) {
			for i := range 2000 {
				s.send(wire.Frame{Opcode: wire.Text, Payload: commandOf(i+1, 60+i%300)})
				pong(s, i+1)
			}
		}},
		testCase{"commands, pings and pieces mixed, in odd segments", func(s *script) {
			s.chop = 17
			for i := range 300 {
				for _, f := range wire.Cut(wire.Text, commandOf(i+1, 80+i%200), 50, 0) {
					s.send(f)
					if f.More {
						s.ping(fmt.Append(nil, i))
					}
				}
				pong(s, i+1)
			}
		}},
		testCase{"binary", func(s *script) {
			s.send(wire.Frame{Opcode: wire.Binary, Payload: commandOf(1, 100)})
			s.refused(4200)
		}},
		testCase{"the answers to all before a broken frame", func(s *script) {
			for i := range 20 {
				s.send(wire.Frame{Opcode: wire.Text, Payload: commandOf(i+1, 60)})
				pong(s, i+1)
			}
			s.send(wire.Frame{Opcode: 5})
			s.refused(1002)
		}},
	)
	runTable(t, startProduct(t), cases)
}

// TestPublishInPieces: what is published in fragments and segments is what is stored.
func TestPublishInPieces(t *testing.T) {
	n := startNode(t)
	sub, err := n.subscribe(wire.Dialer{}, "t:pieces", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Close() }()
	pub, err := n.target("/v1/ws").dialer().Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pub.Close() }()
	for i, size := range []int{0, 1, 100, 126, 4096, 60_000} {
		value := `"` + strings.Repeat("é", size/2) + `"`
		command := fmt.Appendf(nil, `{"id":%d,"publish":{"channel":"t:pieces","data":%s}}`, i+1, value)
		if err := wire.Chop(pub, wire.Bytes(wire.Cut(wire.Text, command, 1+size/9, 0)...), 1+size/50); err != nil {
			t.Fatal(err)
		}
		if ev, err := pub.Next(); err != nil || !bytes.HasPrefix(ev.Payload, fmt.Appendf(nil, `{"id":%d,"published":`, i+1)) {
			t.Fatalf("got %s, %v", shown(ev), err)
		}
		if ev, err := sub.Next(); err != nil || !bytes.HasSuffix(ev.Payload, []byte(`"data":`+value+`}}`)) {
			t.Fatalf("got %s, %v", shown(ev), err)
		}
	}
}
