package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/rivulet-rt/rivulet/protocol"
)

// reader walks once through one JSON text. It finds where values end by their
// brackets and quotes, without recursion; what is inside a value is checked by
// whoever takes it (protocol.CompactData). Unlike encoding/json it knows names
// exactly, and nothing that it returns is unchecked.
type reader struct {
	in  []byte
	pos int
}

func wrong(field, format string, args ...any) error {
	return &protocol.DecodeError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// space skips white space and returns the next byte, 0 at the end.
func (r *reader) space() byte {
	for r.pos < len(r.in) {
		switch c := r.in[r.pos]; c {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return c
		}
	}
	return 0
}

func (r *reader) unexpected(where string) error {
	if r.pos >= len(r.in) {
		return wrong("body", "is not JSON: it ends at byte %d %s", r.pos, where)
	}
	c, size := utf8.DecodeRune(r.in[r.pos:])
	if c == utf8.RuneError && size <= 1 {
		return wrong("body", "is not valid UTF-8 at byte %d", r.pos)
	}
	return wrong("body", "is not JSON: unexpected %q at byte %d %s", c, r.pos, where)
}

// end makes sure that nothing follows.
func (r *reader) end() error {
	if r.space() != 0 || r.pos < len(r.in) {
		return r.unexpected("after the end of the value")
	}
	return nil
}

// object calls member for every member of the object at the reader's place; member
// must consume the value. field names the object in errors.
func (r *reader) object(field string, member func(name string) error) error {
	if err := r.open('{', field, "an object"); err != nil {
		return err
	}
	if r.space() == '}' {
		r.pos++
		return nil
	}
	for {
		if r.space() != '"' {
			return r.unexpected("where a member name in double quotes is expected")
		}
		name, err := r.text("body")
		if err != nil {
			return err
		}
		if r.space() != ':' {
			return r.unexpected("where a colon is expected")
		}
		r.pos++
		if err := member(name); err != nil {
			return err
		}
		if more, err := r.next('}'); !more {
			return err
		}
	}
}

// array calls element for every element likewise.
func (r *reader) array(field string, element func(i int) error) error {
	if err := r.open('[', field, "an array"); err != nil {
		return err
	}
	if r.space() == ']' {
		r.pos++
		return nil
	}
	for i := 0; ; i++ {
		if err := element(i); err != nil {
			return err
		}
		if more, err := r.next(']'); !more {
			return err
		}
	}
}

func (r *reader) open(bracket byte, field, kind string) error {
	if r.space() == bracket {
		r.pos++
		return nil
	}
	raw, err := r.raw()
	if err != nil {
		return err
	}
	return mustBe(field, kind, raw)
}

// next consumes the comma or the closing bracket after a value.
func (r *reader) next(closing byte) (more bool, err error) {
	switch r.space() {
	case ',':
		r.pos++
		return true, nil
	case closing:
		r.pos++
		return false, nil
	}
	return false, r.unexpected("where a comma or " + string(closing) + " is expected")
}

// raw returns the text of the value at the reader's place, never empty and
// unchecked inside.
func (r *reader) raw() ([]byte, error) {
	first := r.space()
	from := r.pos
	switch first {
	case '"':
		if !r.skipString() {
			return nil, r.unexpected("in a string")
		}
	case '{', '[':
		if !r.skipBrackets() {
			return nil, r.unexpected("where a closing bracket is expected")
		}
	default:
		for r.pos < len(r.in) && bytes.IndexByte([]byte(",:{}[]\" \t\r\n"), r.in[r.pos]) < 0 {
			r.pos++
		}
		if r.pos == from {
			return nil, r.unexpected("where a value is expected")
		}
	}
	return r.in[from:r.pos], nil
}

func (r *reader) skipBrackets() bool {
	for depth := 0; r.pos < len(r.in); r.pos++ {
		switch r.in[r.pos] {
		case '"':
			if !r.skipString() {
				return false
			}
			r.pos--
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				r.pos++
				return true
			}
		}
	}
	return false
}

func (r *reader) skipString() bool {
	for r.pos++; r.pos < len(r.in); r.pos++ {
		switch r.in[r.pos] {
		case '\\':
			r.pos++
		case '"':
			r.pos++
			return true
		}
	}
	r.pos = len(r.in)
	return false
}

// text reads a string.
func (r *reader) text(field string) (string, error) {
	raw, err := r.raw()
	if err != nil {
		return "", err
	}
	return textOf(raw, field)
}

func textOf(raw []byte, field string) (string, error) {
	if raw[0] != '"' {
		return "", mustBe(field, "a string", raw)
	}
	if inner := raw[1 : len(raw)-1]; plain(inner) {
		return string(inner), nil
	}
	if _, err := checked(raw, field); err != nil {
		return "", err
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", wrong(field, "is not a JSON string")
	}
	return s, nil
}

// checked returns the value compact and in memory of its own.
func checked(raw []byte, field string) ([]byte, error) {
	data, err := protocol.CompactData(raw)
	if e, ok := errors.AsType[*protocol.DecodeError](err); ok {
		return nil, &protocol.DecodeError{Field: field, Problem: e.Problem}
	}
	return data, err
}

// plain reports whether a string's inside is ASCII that stands for itself.
func plain(inner []byte) bool {
	for _, c := range inner {
		if c < 0x20 || c > 0x7e || c == '\\' {
			return false
		}
	}
	return true
}

func isNull(raw []byte) bool { return bytes.Equal(raw, []byte("null")) }

// mustBe says of a value that it is of the wrong kind.
func mustBe(field, kind string, raw []byte) error {
	is := kindOf(raw)
	if is == "" {
		return wrong(field, "is not JSON; it must be %s", kind)
	}
	return wrong(field, "must be %s, not %s", kind, is)
}

// kindOf names what a value is, "" if it is none.
func kindOf(raw []byte) string {
	switch c := raw[0]; {
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case isNull(raw):
		return "null"
	case c == 't', c == 'f':
		return "a boolean"
	case c == '-', c >= '0' && c <= '9':
		return "a number"
	}
	return ""
}
