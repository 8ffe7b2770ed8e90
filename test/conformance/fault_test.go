package conformance_test

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// faulty is a connection whose server's bytes are changed on their way. The
// handshake's answer, the first write, is left alone.
type faulty struct {
	net.Conn
	change func(write int, b []byte) []byte
	writes atomic.Int32
}

func (f *faulty) Write(b []byte) (int, error) {
	changed := b
	if n := int(f.writes.Add(1)) - 1; n > 0 {
		changed = f.change(n, bytes.Clone(b))
	}
	if _, err := f.Conn.Write(changed); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f *faulty) CloseWrite() error { return f.Conn.(*net.TCPConn).CloseWrite() }

// TestFaultsAreNoticed: a check that cannot fail shows nothing. The same script
// passes with the server as it is and fails with each fault.
func TestFaultsAreNoticed(t *testing.T) {
	whole := testCase{"", func(s *script) {
		for range 3 {
			s.ask()
			s.await()
			s.ping([]byte("p"))
			s.await()
		}
		s.echo(wire.Binary, filler(wire.Binary, 300))
	}}
	for _, tc := range []struct {
		name   string
		right  bool
		change func(write int, b []byte) []byte
	}{
		{"no fault", true, func(_ int, b []byte) []byte { return b }},
		{"a frame inside a frame", false, func(n int, b []byte) []byte {
			if n != 3 {
				return b
			}
			return bytes.Join([][]byte{b[:5], {0x8a, 1, 'p'}, b[5:]}, nil)
		}},
		{"a byte is lost", false, func(_ int, b []byte) []byte { return b[:len(b)-1] }},
		{"a byte is wrong", false, func(_ int, b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		{"a byte too many", false, func(_ int, b []byte) []byte { return append(b, 0) }},
		{"a frame is lost", false, func(n int, b []byte) []byte {
			if n == 2 {
				return nil
			}
			return b
		}},
		{"two frames change places", false, func(n int, b []byte) []byte {
			if n != 7 { // the message, and the close frame behind it
				return b
			}
			return append([]byte{0x88, 2, 0x03, 0xe8}, b...)
		}},
		{"a frame comes twice", false, func(_ int, b []byte) []byte { return append(b, b...) }},
		{"masked", false, func(_ int, b []byte) []byte {
			return bytes.Join([][]byte{{b[0], b[1] | 0x80, 0, 0, 0, 0}, b[2:]}, nil)
		}},
		{"a long form of the length", false, func(_ int, b []byte) []byte {
			return bytes.Join([][]byte{{b[0], 126, 0, b[1]}, b[2:]}, nil)
		}},
		{"a reserved bit", false, func(_ int, b []byte) []byte { b[0] |= wire.RSV2; return b }},
		{"compressed without the extension", false, func(_ int, b []byte) []byte { b[0] |= wire.RSV1; return b }},
		{"binary for text", false, func(_ int, b []byte) []byte { b[0] ^= 3; return b }},
		{"never FIN", false, func(_ int, b []byte) []byte { b[0] &^= 0x80; return b }},
		{"no close frame", false, func(_ int, b []byte) []byte {
			if b[0] == 0x88 {
				return nil
			}
			return b
		}},
		{"another close code", false, func(_ int, b []byte) []byte {
			if b[0] == 0x88 {
				b[len(b)-1]++
			}
			return b
		}},
		{"a ping behind the close frame", false, func(_ int, b []byte) []byte {
			if b[0] == 0x88 {
				b = append(b, 0x89, 0)
			}
			return b
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tg := startReference(t, func(c net.Conn) net.Conn { return &faulty{Conn: c, change: tc.change} })
			if !tc.right {
				tg.timeout = time.Second // what never comes is a fault as well
			}
			err := whole.run(t.Context(), tg)
			if tc.right != (err == nil) {
				t.Errorf("got %v", err)
			}
		})
	}
}
