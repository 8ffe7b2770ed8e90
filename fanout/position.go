package fanout

import (
	"strconv"
	"strings"
)

// Bounds of positions.
const (
	MaxPositionBytes = 32
	tagBytes         = 8
	tagStreamBytes   = 5                     // of the tag: namespace, generation and partition; the rest is the epoch
	maxOffset        = 3_656_158_440_062_975 // ten digits of base 36, so that a position keeps to its bytes; below 2^53
)

// StreamTag names a stream and its epoch in eight characters of [0-9A-Za-z]:
// five for namespace, generation and partition, three for the epoch.
type StreamTag [tagBytes]byte

// SameStream reports whether both tags name one stream, of whatever epoch.
func (t StreamTag) SameStream(o StreamTag) bool {
	return [tagStreamBytes]byte(t[:tagStreamBytes]) == [tagStreamBytes]byte(o[:tagStreamBytes])
}

func (t StreamTag) String() string { return string(t[:]) }

// IsZero reports whether t is unset.
func (t StreamTag) IsZero() bool { return t == StreamTag{} }

// Position says: everything of a channel up to Offset was delivered. Offset is a
// sequence of the stream and may be another channel's message; Time is when that
// message was stored, in Unix nanoseconds, and tells two logs apart that used
// one sequence twice. The zero Position is none.
type Position struct {
	Stream StreamTag
	Offset uint64
	Time   int64
}

// IsZero reports whether p is none.
func (p Position) IsZero() bool { return p.Stream.IsZero() }

// String is the wire form, "<stream>-<offset>-<time>", offset and time in base
// 36; at most MaxPositionBytes bytes. None is "".
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	return string(p.Append(make([]byte, 0, MaxPositionBytes)))
}

// Append appends the wire form.
func (p Position) Append(b []byte) []byte {
	b = append(b, p.Stream[:]...)
	b = append(b, '-')
	b = strconv.AppendUint(b, p.Offset, 36)
	b = append(b, '-')
	return strconv.AppendInt(b, p.Time, 36)
}

// ParsePosition reads the wire form. Errors are *InputError with field "position".
func ParsePosition(s string) (Position, error) {
	if len(s) > MaxPositionBytes {
		return Position{}, badInput("position", "is over %d bytes; give back a position exactly as it was received", MaxPositionBytes)
	}
	tag, rest, ok := strings.Cut(s, "-")
	off, tim, ok2 := strings.Cut(rest, "-")
	if !ok || !ok2 || !validTag(tag) || !canonical36(off) || !canonical36(tim) {
		return Position{}, badInput("position", "%q is not a position; give one back exactly as it was received", clip(s))
	}
	offset, err := strconv.ParseUint(off, 36, 64)
	if err != nil || offset > maxOffset {
		return Position{}, badInput("position", "%q has an offset out of range", clip(s))
	}
	t, err := strconv.ParseInt(tim, 36, 64)
	if err != nil {
		return Position{}, badInput("position", "%q has a time out of range", clip(s))
	}
	p := Position{Offset: offset, Time: t}
	copy(p.Stream[:], tag)
	return p, nil
}

func validTag(s string) bool {
	if len(s) != tagBytes {
		return false
	}
	for i := range len(s) {
		b := s[i]
		if (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') {
			return false
		}
	}
	return true
}

// canonical36 accepts exactly what strconv writes: one spelling per number, so
// that positions can be compared as strings.
func canonical36(s string) bool {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return false
	}
	for i := range len(s) {
		b := s[i]
		if (b < '0' || b > '9') && (b < 'a' || b > 'z') {
			return false
		}
	}
	return true
}

// ParsePositions reads a list of positions, at most one per stream.
func ParsePositions(list []string) ([]Position, error) {
	out := make([]Position, 0, len(list))
	for _, s := range list {
		p, err := ParsePosition(s)
		if err != nil {
			return nil, err
		}
		for _, q := range out {
			if q.Stream.SameStream(p.Stream) {
				return nil, badInput("positions", "two positions of one stream (%s); keep the latest of each", p.Stream)
			}
		}
		out = append(out, p)
	}
	return out, nil
}
