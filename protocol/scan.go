package protocol

import (
	"fmt"
	"unicode/utf8"
)

// scanner checks in one pass that a text is exactly one JSON value: RFC 8259
// grammar, valid UTF-8, no unpaired surrogate escapes, bounded depth. It uses no
// recursion and no memory beyond itself, so it is safe before anything is decoded.
type scanner struct {
	in       []byte
	pos      int
	field    string // for errors
	depth    int
	maxDepth int
	objects  [2]uint64 // bit d-1: the container at depth d is an object

	compact bool
	out     []byte // of compact: in without insignificant space
	run     int    // of compact: start of what is not yet in out
}

// scan checks in; field names it in errors. maxDepth is at most 128.
func scan(in []byte, field string, maxDepth int) *DecodeError {
	s := scanner{in: in, field: field, maxDepth: maxDepth}
	return s.document()
}

// CompactData checks a publisher's data and returns it without insignificant
// space, in memory of its own. data is any JSON value: valid UTF-8, nested at
// most MaxDepth deep, no escape of a lone surrogate ("\ud800": it stands for no
// character, and parsers of several languages refuse the whole text, so one such
// message would stop their readers for good). Duplicate member names, large
// numbers and escapes are kept as written. Errors are *DecodeError with field
// "data".
func CompactData(raw []byte) ([]byte, error) {
	data, err := compact(raw, "data")
	if err != nil {
		return nil, err
	}
	return data, nil
}

// compact is CompactData of the field called field.
func compact(raw []byte, field string) ([]byte, *DecodeError) {
	s := scanner{in: raw, field: field, maxDepth: MaxDepth, compact: true, out: make([]byte, 0, len(raw))}
	if err := s.document(); err != nil {
		return nil, err
	}
	return append(s.out, raw[s.run:]...), nil
}

// document scans one value and whatever it holds.
func (s *scanner) document() *DecodeError {
	opened, err := s.value()
	for err == nil {
		c := s.peek()
		switch {
		case opened && c == s.closer(), !opened && s.depth > 0 && c == s.closer():
			s.pos++
			s.depth--
			opened = false
		case opened:
			opened, err = s.element()
		case s.depth == 0:
			if s.pos < len(s.in) {
				return s.unexpected("after the end of the value")
			}
			return nil
		case c == ',':
			s.pos++
			opened, err = s.element()
		default:
			return s.unexpected("where a comma or the closing bracket is expected")
		}
	}
	return err
}

// element scans what stands between commas; it returns true if a container was opened.
func (s *scanner) element() (bool, *DecodeError) {
	if s.inObject() {
		if s.peek() != '"' {
			return false, s.unexpected("where a member name in double quotes is expected")
		}
		if err := s.str(); err != nil {
			return false, err
		}
		if s.peek() != ':' {
			return false, s.unexpected("where a colon is expected")
		}
		s.pos++
	}
	return s.value()
}

func (s *scanner) value() (opened bool, err *DecodeError) {
	switch c := s.peek(); {
	case c == '{', c == '[':
		return true, s.open(c == '{')
	case c == '"':
		return false, s.str()
	case c == '-', c >= '0' && c <= '9':
		return false, s.number()
	case c == 't':
		return false, s.literal("true")
	case c == 'f':
		return false, s.literal("false")
	case c == 'n':
		return false, s.literal("null")
	}
	return false, s.unexpected("where a value is expected")
}

func (s *scanner) open(object bool) *DecodeError {
	if s.depth == s.maxDepth {
		return s.fail("is nested more than %d levels deep", s.maxDepth)
	}
	bit := uint64(1) << (s.depth % 64)
	if object {
		s.objects[s.depth/64] |= bit
	} else {
		s.objects[s.depth/64] &^= bit
	}
	s.depth++
	s.pos++
	return nil
}

func (s *scanner) inObject() bool {
	d := s.depth - 1
	return s.objects[d/64]&(1<<(d%64)) != 0
}

func (s *scanner) closer() byte {
	if s.inObject() {
		return '}'
	}
	return ']'
}

// peek skips space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	from := s.pos
	for s.pos < len(s.in) && isSpace(s.in[s.pos]) {
		s.pos++
	}
	if s.compact && s.pos > from {
		s.out = append(s.out, s.in[s.run:from]...)
		s.run = s.pos
	}
	if s.pos == len(s.in) {
		return 0
	}
	return s.in[s.pos]
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func (s *scanner) literal(word string) *DecodeError {
	for i := range len(word) {
		if s.pos == len(s.in) || s.in[s.pos] != word[i] {
			return s.unexpected("in the word " + word)
		}
		s.pos++
	}
	return nil
}

func (s *scanner) number() *DecodeError {
	if s.in[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.in) && s.in[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return s.unexpected("in a number")
	}
	if s.pos < len(s.in) && s.in[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return s.unexpected("in a number")
		}
	}
	if s.pos < len(s.in) && s.in[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.in) && (s.in[s.pos] == '+' || s.in[s.pos] == '-') {
			s.pos++
		}
		if !s.digits() {
			return s.unexpected("in a number")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	from := s.pos
	for s.pos < len(s.in) && s.in[s.pos] >= '0' && s.in[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > from
}

// str scans a string, from its opening to its closing quote.
func (s *scanner) str() *DecodeError {
	s.pos++
	for s.pos < len(s.in) {
		switch c := s.in[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c < 0x20:
			return s.fail("has an unescaped control character (0x%02x) in a string at byte %d", c, s.pos)
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, size := utf8.DecodeRune(s.in[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return s.fail("is not valid UTF-8 at byte %d", s.pos)
			}
			s.pos += size
		}
	}
	return s.unexpected("in a string")
}

func (s *scanner) escape() *DecodeError {
	at := s.pos
	s.pos++ // the backslash
	if s.pos == len(s.in) {
		return s.unexpected("in a string")
	}
	switch c := s.in[s.pos]; c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
	default:
		return s.unexpected("after a backslash")
	}
	unit, err := s.hex4()
	if err != nil || unit < 0xd800 || unit > 0xdfff {
		return err
	}
	if unit <= 0xdbff && s.pos+1 < len(s.in) && s.in[s.pos] == '\\' && s.in[s.pos+1] == 'u' {
		s.pos++
		low, err := s.hex4()
		if err != nil || low >= 0xdc00 && low <= 0xdfff {
			return err
		}
	}
	return s.fail(`has half of a surrogate pair (\u%04x) at byte %d; write the character itself or both halves`, unit, at)
}

// hex4 scans u and four hexadecimal digits.
func (s *scanner) hex4() (unit uint32, err *DecodeError) {
	s.pos++ // the u
	for range 4 {
		if s.pos == len(s.in) {
			return 0, s.unexpected(`in a \u escape`)
		}
		c := s.in[s.pos]
		switch {
		case c >= '0' && c <= '9':
			unit = unit<<4 | uint32(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			unit = unit<<4 | uint32(c|0x20-'a'+10)
		default:
			return 0, s.unexpected(`in a \u escape`)
		}
		s.pos++
	}
	return unit, nil
}

func (s *scanner) unexpected(where string) *DecodeError {
	if s.pos >= len(s.in) {
		return s.fail("is not JSON: it ends at byte %d %s", s.pos, where)
	}
	c := s.in[s.pos]
	if c < utf8.RuneSelf {
		return s.fail("is not JSON: unexpected %q at byte %d %s", rune(c), s.pos, where)
	}
	r, size := utf8.DecodeRune(s.in[s.pos:])
	if r == utf8.RuneError && size == 1 {
		return s.fail("is not valid UTF-8 at byte %d", s.pos)
	}
	return s.fail("is not JSON: unexpected %q at byte %d %s", r, s.pos, where)
}

func (s *scanner) fail(format string, args ...any) *DecodeError {
	return &DecodeError{Field: s.field, Problem: fmt.Sprintf(format, args...)}
}
