package protocol

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// value is the text of one JSON value that scan has accepted, without space
// around it.
type value []byte

// members calls each for every member of object, a text that scan has accepted
// and that begins with "{". The name's escapes are resolved; both arguments are
// only valid during the call.
func members(object value, each func(name []byte, v value) *DecodeError) *DecodeError {
	for i := nextToken(object, 1); object[i] != '}'; {
		if object[i] == ',' {
			i = nextToken(object, i+1)
		}
		end := valueEnd(object, i)
		name := object[i+1 : end-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			name = []byte(unquote(object[i:end]))
		}
		i = nextToken(object, nextToken(object, end)+1) // over the colon
		end = valueEnd(object, i)
		if err := each(name, object[i:end]); err != nil {
			return err
		}
		i = nextToken(object, end)
	}
	return nil
}

// elements calls each for every element of array, likewise.
func elements(array value, each func(v value) *DecodeError) *DecodeError {
	for i := nextToken(array, 1); array[i] != ']'; {
		if array[i] == ',' {
			i = nextToken(array, i+1)
		}
		end := valueEnd(array, i)
		if err := each(array[i:end]); err != nil {
			return err
		}
		i = nextToken(array, end)
	}
	return nil
}

func nextToken(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

// valueEnd returns the end of the value that begins at i.
func valueEnd(b []byte, i int) int {
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch b[i] {
			case '"':
				i = stringEnd(b, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && !isSpace(b[i]) {
		i++
	}
	return i
}

func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// unquote resolves the escapes of a string that scan has accepted.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "" // scan accepts no string that does not unquote
	}
	return s
}

func (v value) null() bool { return v[0] == 'n' }

// kind names what v is, for errors.
func (v value) kind() string {
	switch v[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "the number " + clip(v)
}

func clip(b []byte) string {
	const most = 32
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}

// What numbers must be, in both codecs.
const (
	mustBeUnsigned = "must be a whole number from 0 to 2^53-1, not %s"
	mustBeInteger  = "must be a whole number within ±(2^53-1), not %s"
	mustBeCount    = "must be a whole number within ±(2^31-1), not %s"
	mustBeCode     = "must be a whole number from 0 to 65535, not %s"
)

// The readers below leave dst as it is for null, which counts as absent.

func (v value) text(field string, dst *string) *DecodeError {
	switch {
	case v.null():
		return nil
	case v[0] != '"':
		return refuse(field, "must be a string, not %s", v.kind())
	}
	*dst = unquote(v)
	return nil
}

func (v value) textPointer(field string, dst **string) *DecodeError {
	if v.null() {
		return nil
	}
	var s string
	if err := v.text(field, &s); err != nil {
		return err
	}
	*dst = &s
	return nil
}

func (v value) texts(field string, dst *[]string) *DecodeError {
	switch {
	case v.null():
		return nil
	case v[0] != '[':
		return refuse(field, "must be an array of strings, not %s", v.kind())
	}
	var list []string
	err := elements(v, func(e value) *DecodeError {
		if e[0] != '"' {
			return refuse(field, "must be an array of strings, but has %s", e.kind())
		}
		list = append(list, unquote(e))
		return nil
	})
	*dst = list
	return err
}

func (v value) textMap(field string, dst *map[string]string) *DecodeError {
	switch {
	case v.null():
		return nil
	case v[0] != '{':
		return refuse(field, "must be an object of strings, not %s", v.kind())
	}
	m := map[string]string{}
	err := members(v, func(name []byte, e value) *DecodeError {
		if e[0] != '"' {
			return refuse(field, "must be an object of strings, but %q is %s", clip(name), e.kind())
		}
		m[string(name)] = unquote(e)
		return nil
	})
	if len(m) > 0 {
		*dst = m
	}
	return err
}

func (v value) unsigned(field string, dst *uint64) *DecodeError {
	if v.null() {
		return nil
	}
	n, err := strconv.ParseUint(string(v), 10, 64)
	if err != nil || n > MaxID {
		return refuse(field, mustBeUnsigned, v.kind())
	}
	*dst = n
	return nil
}

func (v value) unsignedPointer(field string, dst **uint64) *DecodeError {
	if v.null() {
		return nil
	}
	n := new(uint64)
	if err := v.unsigned(field, n); err != nil {
		return err
	}
	*dst = n
	return nil
}

func (v value) integer(field string, dst *int64) *DecodeError {
	if v.null() {
		return nil
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n > MaxID || n < -MaxID {
		return refuse(field, mustBeInteger, v.kind())
	}
	*dst = n
	return nil
}

func (v value) count(field string, dst *int) *DecodeError {
	if v.null() {
		return nil
	}
	n, err := strconv.ParseInt(string(v), 10, 32)
	if err != nil {
		return refuse(field, mustBeCount, v.kind())
	}
	*dst = int(n)
	return nil
}

func (v value) code(field string, dst *Code) *DecodeError {
	if v.null() {
		return nil
	}
	n, err := strconv.ParseUint(string(v), 10, 16)
	if err != nil {
		return refuse(field, mustBeCode, v.kind())
	}
	*dst = Code(n)
	return nil
}

func (v value) boolean(field string, dst *bool) *DecodeError {
	switch v[0] {
	case 'n':
		return nil
	case 't', 'f':
		*dst = v[0] == 't'
		return nil
	}
	return refuse(field, "must be true or false, not %s", v.kind())
}

// objects calls each for every element of an array of objects; what names them, for
// errors.
func (v value) objects(field, what string, each func(item value) *DecodeError) *DecodeError {
	if v[0] != '[' {
		return refuse(field, "must be an array of %s, not %s", what, v.kind())
	}
	return elements(v, func(item value) *DecodeError {
		if item[0] != '{' {
			return refuse(field, "must be an array of %s, but has %s", what, item.kind())
		}
		return each(item)
	})
}

// raw keeps v as it is; null is a value like any other.
func (v value) raw(dst *json.RawMessage) *DecodeError {
	*dst = bytes.Clone(v)
	return nil
}
