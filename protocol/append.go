package protocol

import (
	"encoding/base64"
	"slices"
	"strconv"
	"unicode/utf8"
)

// object appends the members of one JSON object to dst.
type object struct {
	dst   []byte
	comma bool
}

func beginObject(dst []byte) object { return object{dst: append(dst, '{')} }

func (o *object) end() []byte { return append(o.dst, '}') }

// name appends the separator and `"name":`; name must need no escape.
func (o *object) name(name string) {
	if o.comma {
		o.dst = append(o.dst, ',')
	}
	o.comma = true
	o.dst = append(o.dst, '"')
	o.dst = append(o.dst, name...)
	o.dst = append(o.dst, '"', ':')
}

func (o *object) text(name, s string) {
	o.name(name)
	o.dst = appendString(o.dst, s)
}

func (o *object) optText(name, s string) {
	if s != "" {
		o.text(name, s)
	}
}

// optBytes appends bytes, which may already be in base64.
func (o *object) optBytes(name string, b64 *string, b []byte) {
	switch {
	case b64 != nil:
		o.text(name, *b64)
	case b != nil:
		o.name(name)
		o.dst = append(o.dst, '"')
		o.dst = base64.StdEncoding.AppendEncode(o.dst, b)
		o.dst = append(o.dst, '"')
	}
}

func (o *object) optTexts(name string, list []string) {
	if len(list) == 0 {
		return
	}
	o.name(name)
	o.dst = append(o.dst, '[')
	for i, s := range list {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = appendString(o.dst, s)
	}
	o.dst = append(o.dst, ']')
}

func (o *object) unsigned(name string, n uint64) {
	o.name(name)
	o.dst = strconv.AppendUint(o.dst, n, 10)
}

func (o *object) optUnsigned(name string, n uint64) {
	if n != 0 {
		o.unsigned(name, n)
	}
}

func (o *object) integer(name string, n int64) {
	o.name(name)
	o.dst = strconv.AppendInt(o.dst, n, 10)
}

func (o *object) optInteger(name string, n int64) {
	if n != 0 {
		o.integer(name, n)
	}
}

func (o *object) boolean(name string, b bool) {
	o.name(name)
	o.dst = strconv.AppendBool(o.dst, b)
}

func (o *object) optTrue(name string, b bool) {
	if b {
		o.boolean(name, b)
	}
}

func (o *object) optRaw(name string, raw []byte) {
	if len(raw) > 0 {
		o.name(name)
		o.dst = append(o.dst, raw...)
	}
}

// optMap appends the members in the order of their names.
func (o *object) optMap(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	var room [MaxHeaders]string
	o.name(name)
	o.dst = append(o.dst, '{')
	for i, k := range sortedNames(room[:0], m) {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = appendString(o.dst, k)
		o.dst = append(o.dst, ':')
		o.dst = appendString(o.dst, m[k])
	}
	o.dst = append(o.dst, '}')
}

// sortedNames appends the names of m in their order.
func sortedNames(names []string, m map[string]string) []string {
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD; U+2028 and U+2029 are escaped, since JavaScript before 2019 takes them
// for line ends.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	run := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = appendEscape(append(dst, s[run:i]...), c)
			i++
			run = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, s[run:i]...), `\ufffd`...)
			run = i + size
		case r == '\u2028', r == '\u2029':
			dst = append(append(dst, s[run:i]...), `\u202`...)
			dst = append(dst, hexDigits[r&0xf])
			run = i + size
		}
		i += size
	}
	return append(append(dst, s[run:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
