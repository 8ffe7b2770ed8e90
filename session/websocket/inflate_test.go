package websocket_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

// ended is s as a DEFLATE stream with a last block, as a compressor makes that cannot
// flush, which may refer to what came before.
func ended(tb testing.TB, before, s string) string {
	tb.Helper()
	var b bytes.Buffer
	z, err := flate.NewWriterDict(&b, flate.BestSpeed, []byte(before))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := z.Write([]byte(s)); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// stored is s as a block that is not compressed.
func stored(last byte, s string) string {
	b := binary.LittleEndian.AppendUint16([]byte{last}, uint16(len(s)))
	return string(binary.LittleEndian.AppendUint16(b, ^uint16(len(s)))) + s
}

// TestFinalBlocks: a block that says it is the last ends a stream, not the message
// (RFC 7692 section 7.2.3.4), and nothing of a message is left to the next.
func TestFinalBlocks(t *testing.T) {
	registry := hubtest.New().Start(t, config(nil), open())
	const limit = 1000
	words := strings.Repeat("words again ", 30)
	next := masked(wholeText, strings.Repeat("y", 600))
	for _, tc := range []struct {
		name string
		in   []byte
		want string // "" is refused
	}{
		{"the last is last", masked(wholeText|rsv1, stored(1, "Hello")+"\x00"), "Hello"},
		{"and without an empty one after it", masked(wholeText|rsv1, stored(1, "Hello")), "Hello"},
		{"in the middle", masked(wholeText|rsv1, stored(1, "Hello, ")+stored(0, "world")+"\x00"), "Hello, world"},
		{"two, the second refers to the first", masked(wholeText|rsv1, ended(t, "", words)+ended(t, words, words)+"\x00"), words + words},
		{"many", masked(wholeText|rsv1, strings.Repeat(stored(1, "x"), 100)+"\x00"), strings.Repeat("x", 100)},
		{"far too many", masked(wholeText|rsv1, strings.Repeat(stored(1, ""), 150)), ""},
		{"in the first fragment", join(masked(text|rsv1, stored(1, "Hello")), masked(lastOne, stored(0, strings.Repeat("z", 600))+"\x00")), "Hello" + strings.Repeat("z", 600)},
		{"before what is no block", join(masked(text|rsv1, stored(1, "Hello")), masked(lastOne, strings.Repeat("z", 600))), ""},
		{"together over the limit", masked(wholeText|rsv1, strings.Repeat(ended(t, "", words), 3)), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			w := &wireInMemory{}
			c, err := websocket.NewReceiver(registry, w, limit, true, func(_ int, m []byte) { got = append(got, string(m)) })
			if err != nil {
				t.Fatal(err)
			}
			defer c.End()
			c.Receive(join(tc.in, next))
			want := []string{tc.want, strings.Repeat("y", 600)}
			if tc.want == "" {
				want = nil
			}
			if !slices.Equal(got, want) || c.Over() != (want == nil) {
				t.Errorf("received %.60q, over %v, wrote %q", got, c.Over(), w.written)
			}
		})
	}
}

// TestFinalBlocksRefused: what follows a last block and is no block has a code of its own.
func TestFinalBlocksRefused(t *testing.T) {
	s := start(t, nil, open()).speak(t, protocol.JSON{}, gorilla.TextMessage, true)
	if _, err := s.NetConn().Write(masked(wholeText|rsv1, strings.Repeat(stored(1, ""), 150))); err != nil {
		t.Fatal(err)
	}
	s.wantClose(protocol.CloseInvalidText)
}
