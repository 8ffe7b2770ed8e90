package migrations

import (
	"fmt"
	"strings"
)

const (
	hexDigits  = "0123456789ABCDEF"
	emptyToken = "=" // no other token is a lone "="
)

// plain reports whether b stands for itself in a token.
func plain(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-'
}

// AppendToken appends one segment of a channel's name as one subject token:
// [A-Za-z0-9_-] stay, every other byte becomes =HH. Different segments give
// different tokens, and no token has '.', '*', '>', a space or a control
// character, whatever the segment holds.
func AppendToken(b []byte, segment string) []byte {
	if segment == "" {
		return append(b, emptyToken...)
	}
	for i := range len(segment) {
		c := segment[i]
		if plain(c) {
			b = append(b, c)
			continue
		}
		b = append(b, '=', hexDigits[c>>4], hexDigits[c&15])
	}
	return b
}

// appendSegment appends the segment of which token is the encoding. It accepts
// only what AppendToken writes, so that a channel has one subject.
func appendSegment(b []byte, token string) ([]byte, error) {
	if token == emptyToken {
		return b, nil
	}
	if token == "" {
		return nil, fmt.Errorf("%w: empty token", ErrSubject)
	}
	for i := 0; i < len(token); i++ {
		c := token[i]
		if plain(c) {
			b = append(b, c)
			continue
		}
		if c != '=' || i+2 >= len(token) {
			return nil, fmt.Errorf("%w: token %q", ErrSubject, token)
		}
		hi, lo := strings.IndexByte(hexDigits, token[i+1]), strings.IndexByte(hexDigits, token[i+2])
		if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) {
			return nil, fmt.Errorf("%w: token %q", ErrSubject, token)
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return b, nil
}

// DecodeToken is the inverse of AppendToken. Errors wrap ErrSubject.
func DecodeToken(token string) (string, error) {
	b, err := appendSegment(nil, token)
	return string(b), err
}
