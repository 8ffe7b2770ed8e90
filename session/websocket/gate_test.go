package websocket_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/session/websocket"
)

// First bytes of frames.
const (
	fin, rsv1                     = 0x80, 0x40
	continuation, text, bin       = 0x0, 0x1, 0x2
	closing, pinging, ponging     = 0x8, 0x9, 0xa
	wholeText, wholePing, lastOne = fin | text, fin | pinging, fin | continuation
)

// masked is a frame as a client sends it.
func masked(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := [4]byte{0xa5, 0x5a, byte(len(payload)), first}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// outcome is what a gate made of a stream.
type outcome struct {
	frames        []byte
	messages      int
	broken, flood bool
}

// through feeds in to a gate in chunks; next says how long the next one is. The
// stream ends where a connection would end it.
func through(tb testing.TB, g *websocket.Gate, in []byte, next func(left int) int) (o outcome) {
	tb.Helper()
	var buf []byte
	for len(in) > 0 && !o.broken && !o.flood {
		n := next(len(in))
		buf = append(buf[:0], in[:n]...) // a driver uses its buffer again
		in = in[n:]
		p := g.Take(buf)
		o.frames = append(o.frames, p.Frames...)
		o.messages += p.Messages
		o.broken, o.flood = p.Broken, p.Flood
		if p.Messages > 0 && len(p.Frames) == 0 {
			tb.Fatalf("%d messages in no bytes", p.Messages)
		}
		if held := g.Held(); held > g.Most()+n {
			tb.Fatalf("holds %d bytes after a read of %d, want at most %d more than that", held, n, g.Most())
		}
		clear(buf)
	}
	return o
}

func by(size int) func(int) int { return func(left int) int { return min(size, left) } }

func TestGate(t *testing.T) {
	const limit = 300
	long := strings.Repeat("x", limit)
	first, middle, last := masked(text, "first"), masked(continuation, "middle"), masked(lastOne, "last")
	one, ping, pong := masked(wholeText, "one"), masked(wholePing, "p"), masked(fin|ponging, "")
	bye := masked(fin|closing, "\x03\xe8")
	huge := binary.BigEndian.AppendUint64([]byte{wholeText, 0xff}, 1<<63)
	for _, tc := range []struct {
		name     string
		in       []byte
		want     []byte // with the first two bytes of a frame that is broken
		messages int
		broken   bool
		deflate  bool
	}{
		{name: "nothing"},
		{name: "a message", in: one, want: one, messages: 1},
		{name: "an empty one", in: masked(fin|bin, ""), want: masked(fin|bin, ""), messages: 1},
		{name: "as long as it may be", in: masked(wholeText, long), want: masked(wholeText, long), messages: 1},
		{name: "several", in: join(one, ping, one, bye), want: join(one, ping, one, bye), messages: 2},
		{name: "a control frame", in: ping, want: ping},
		{name: "cut in the payload", in: join(one, one[:7]), want: one, messages: 1},
		{name: "cut in the mask", in: join(one, one[:4]), want: one, messages: 1},
		{name: "cut in the length", in: join(one, masked(wholeText, long)[:3]), want: one, messages: 1},
		{name: "one byte", in: one[:1]},
		{name: "fragments", in: join(first, middle, last, one), want: join(first, middle, last, one), messages: 2},
		{name: "a fragment alone", in: join(one, first), want: one, messages: 1},
		{name: "control between fragments", in: join(first, ping, middle, pong, last), want: join(ping, pong, first, middle, last), messages: 1},
		{name: "close between fragments", in: join(first, bye, last), want: join(bye, first, last), messages: 1},
		{name: "control of a message without end", in: join(one, first, ping, middle, ping[:3]), want: join(one, ping), messages: 1},
		{name: "fragments as long as a message may be", in: join(masked(text, long[5:]), masked(lastOne, long[:5])), want: join(masked(text, long[5:]), masked(lastOne, long[:5])), messages: 1},
		{name: "compressed", in: join(masked(wholeText|rsv1, "z"), one), want: join(masked(wholeText|rsv1, "z"), one), messages: 2, deflate: true},
		{name: "compressed fragments", in: join(masked(text|rsv1, "z"), last), want: join(masked(text|rsv1, "z"), last), messages: 1, deflate: true},

		{name: "compressed and not agreed", in: masked(wholeText|rsv1, "z"), want: []byte{wholeText | rsv1, 0x81}, broken: true},
		{name: "a compressed continuation", in: join(one, masked(text|rsv1, "z"), masked(lastOne|rsv1, "z")), want: join(one, masked(text|rsv1, "z")), messages: 1, broken: true, deflate: true},
		{name: "a compressed control frame", in: join(one, masked(wholePing|rsv1, "z")), want: one, messages: 1, broken: true, deflate: true},
		{name: "half a close code", in: join(one, masked(fin|closing, "z")), want: one, messages: 1, broken: true},
		{name: "unmasked", in: join(one, []byte{wholeText, 1, 'x'}), want: join(one, []byte{wholeText, 1}), messages: 1, broken: true},
		{name: "a reserved bit", in: masked(wholeText|0x20, ""), want: []byte{wholeText | 0x20, 0x80}, broken: true},
		{name: "the other reserved bit", in: masked(wholeText|0x10, ""), want: []byte{wholeText | 0x10, 0x80}, broken: true},
		{name: "an unknown opcode", in: masked(fin|0x3, ""), want: []byte{fin | 0x3, 0x80}, broken: true},
		{name: "an unknown control opcode", in: masked(fin|0xb, ""), want: []byte{fin | 0xb, 0x80}, broken: true},
		{name: "a fragmented control frame", in: join(first, masked(pinging, "p")), want: join(first, []byte{pinging, 0x81}), broken: true},
		{name: "a long control frame", in: masked(wholePing, long[:126]), want: []byte{wholePing, 0xfe}, broken: true},
		{name: "a continuation of nothing", in: join(one, last), want: join(one, last[:2]), messages: 1, broken: true},
		{name: "a message within another", in: join(first, ping, one), want: join(ping, first, one[:2]), broken: true},
		{name: "over the limit", in: masked(wholeText, long+"x"), want: masked(wholeText, long+"x")[:2], broken: true},
		{name: "fragments over the limit", in: join(masked(text, long), masked(lastOne, "x")), want: join(masked(text, long), []byte{lastOne, 0x81}), broken: true},
		{name: "the longest length there is", in: join(huge, make([]byte, 20)), want: huge[:2], broken: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for size := 1; size <= max(1, len(tc.in)); size++ {
				got := through(t, &websocket.Gate{Limit: limit, Deflate: tc.deflate}, tc.in, by(size))
				if got.messages != tc.messages || got.broken != tc.broken || got.flood {
					t.Fatalf("in chunks of %d: %d messages, broken %v, flood %v", size, got.messages, got.broken, got.flood)
				}
				// Of a broken frame more of the header may be passed on.
				more, ok := bytes.CutPrefix(got.frames, tc.want)
				if !ok || len(more) > 0 && !tc.broken || len(more) > 12 {
					t.Fatalf("in chunks of %d:\ngot  % x\nwant % x", size, got.frames, tc.want)
				}
			}
		})
	}
}

// TestGateFlood: fragments of next to nothing are held only so far.
func TestGateFlood(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want bool
	}{
		{"empty fragments", bytes.Repeat(masked(continuation, ""), 3000), true},
		{"fragments of a byte", bytes.Repeat(masked(continuation, "x"), 1200), true},
		{"a handful of bytes each", bytes.Repeat(masked(continuation, "sixsix"), 2000/6), false},
		{"control frames are not held", bytes.Repeat(masked(wholePing, "p"), 9000), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := &websocket.Gate{Limit: 2000}
			got := through(t, g, join(masked(text, ""), tc.in), by(512))
			if got.flood != tc.want || got.broken {
				t.Errorf("flood %v, broken %v", got.flood, got.broken)
			}
		})
	}
}

// sent is a random sequence of what clients may send.
type sent struct {
	bytes []byte
	due   []due // in the order in which they must pass
}

// due is what must have passed once so many bytes have come.
type due struct {
	after  int
	frames []byte
	ends   int // messages
}

func randomFrames(r *rand.Rand, limit int) (s sent) {
	add := func(first byte, n int) []byte {
		f := masked(first, strings.Repeat(string(rune('a'+r.IntN(26))), n))
		s.bytes = append(s.bytes, f...)
		return f
	}
	lengths := []int{0, 1, 125, 126, 127, 4000, 65_535, 65_536, 70_000}
	controls := func() {
		for range max(0, r.IntN(5)-2) {
			f := add(fin|pinging+byte(r.IntN(2)), r.IntN(126))
			s.due = append(s.due, due{len(s.bytes), f, 0})
		}
	}
	for range 1 + r.IntN(12) {
		controls()
		first, left := byte(text+r.IntN(2)), limit
		var message []byte
		for fragments := r.IntN(4); ; fragments-- {
			n := min(left, lengths[r.IntN(len(lengths))])
			left -= n
			if fragments <= 0 {
				message = append(message, add(first|fin, n)...)
				break
			}
			message = append(message, add(first, n)...)
			first = continuation
			controls()
		}
		s.due = append(s.due, due{len(s.bytes), message, 1})
	}
	return s
}

// TestGateProperty: whatever clients may send passes as soon as it is whole, messages
// in their order, control frames at once and so before the message around them ends.
func TestGateProperty(t *testing.T) {
	const limit = 150_000
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			s := randomFrames(r, limit)
			size := []int{3, 100, 16 << 10, len(s.bytes)}[seed%4]
			g := &websocket.Gate{Limit: limit}
			var got []byte
			messages, at := 0, 0
			for at < len(s.bytes) {
				n := min(1+r.IntN(size), len(s.bytes)-at)
				p := g.Take(slices.Clone(s.bytes[at : at+n]))
				at += n
				messages += p.Messages
				got = append(got, p.Frames...)
				if p.Broken || p.Flood {
					t.Fatalf("broken %v, flood %v", p.Broken, p.Flood)
				}
				for len(s.due) > 0 && s.due[0].after <= at {
					want := s.due[0]
					if !bytes.HasPrefix(got, want.frames) {
						t.Fatalf("after %d bytes: got % .40x, want % .40x", at, got, want.frames)
					}
					got, messages, s.due = got[len(want.frames):], messages-want.ends, s.due[1:]
				}
				if len(got) > 0 || messages != 0 {
					t.Fatalf("after %d bytes: %d bytes and %d messages too many", at, len(got), messages)
				}
			}
			if g.Held() != 0 || len(s.due) != 0 {
				t.Errorf("%d bytes are held, %d frames missing", g.Held(), len(s.due))
			}
		})
	}
}

// FuzzGate: what passes does not depend on how it came.
func FuzzGate(f *testing.F) {
	for seed := range uint64(8) {
		s := randomFrames(rand.New(rand.NewPCG(seed, 2)), 700)
		f.Add(s.bytes, seed, seed%2 == 0)
		s.bytes[len(s.bytes)/2] ^= 0x41
		f.Add(s.bytes, seed, seed%2 == 1)
	}
	f.Add(bytes.Repeat(masked(text, ""), 2000), uint64(1), false)
	f.Add(join(masked(text, "a"), bytes.Repeat(masked(continuation, ""), 2000)), uint64(1), false)
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, deflate bool) {
		const limit = 700
		g, other := &websocket.Gate{Limit: limit, Deflate: deflate}, &websocket.Gate{Limit: limit, Deflate: deflate}
		a := through(t, g, in, by(16<<10))
		r := rand.New(rand.NewPCG(seed, 3))
		size := 1 + int(seed%300)
		b := through(t, other, in, func(left int) int { return min(left, 1+r.IntN(size)) })
		short, long := a.frames, b.frames
		if len(short) > len(long) {
			short, long = long, short
		}
		if !bytes.HasPrefix(long, short) {
			t.Fatalf("in one: % x\nin chunks: % x", a.frames, b.frames)
		}
		if a.flood || b.flood {
			return // that there is too much is seen after a read, so earlier after short ones
		}
		if a.messages != b.messages || a.broken != b.broken || !a.broken && len(short) != len(long) || len(long)-len(short) > 12 {
			t.Fatalf("in one: %d messages, broken %v, % x\nin chunks: %d messages, broken %v, % x", a.messages, a.broken, a.frames, b.messages, b.broken, b.frames)
		}
		if !a.broken && (len(a.frames)+g.Held() != len(in) || g.Held() != other.Held()) {
			t.Fatalf("of %d bytes %d passed and %d are held, in chunks %d", len(in), len(a.frames), g.Held(), other.Held())
		}
	})
}
