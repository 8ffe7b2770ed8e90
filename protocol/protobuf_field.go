package protocol

import (
	"errors"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// field is one field of a message as it is on the wire.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	value uint64 // of protowire.VarintType
	bytes []byte // of protowire.BytesType, within the frame
}

// nextField reads the field of b that begins at at, and returns where it ends. b is
// the message called name, for errors. Groups, which proto3 does not have, are
// refused also where the field is unknown: so nothing here nests without bound.
func nextField(b []byte, at int, name string) (f field, end int, err *DecodeError) {
	tag, n := protowire.ConsumeVarint(b[at:])
	if n < 0 {
		return f, 0, malformed(name, at, n)
	}
	f.num, f.typ = protowire.Number(min(tag>>3, math.MaxInt32)), protowire.Type(tag&7)
	if !f.num.IsValid() {
		return f, 0, refuse(name, "is not Protobuf: field number %d at byte %d, must be from 1 to %d", tag>>3, at, protowire.MaxValidNumber)
	}
	end = at + n
	switch f.typ {
	case protowire.VarintType:
		f.value, n = protowire.ConsumeVarint(b[end:])
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(b[end:])
	case protowire.Fixed32Type:
		_, n = protowire.ConsumeFixed32(b[end:])
	case protowire.Fixed64Type:
		_, n = protowire.ConsumeFixed64(b[end:])
	case protowire.StartGroupType, protowire.EndGroupType:
		return f, 0, refuse(name, "has a group, which this protocol does not use: field %d at byte %d", f.num, at)
	default:
		return f, 0, refuse(name, "is not Protobuf: wire type %d of field %d at byte %d", f.typ, f.num, at)
	}
	if n < 0 {
		return f, 0, malformed(name, at, n)
	}
	return f, end + n, nil
}

// malformed says why protowire could not read the field at at.
func malformed(name string, at, code int) *DecodeError {
	if errors.Is(protowire.ParseError(code), io.ErrUnexpectedEOF) {
		return refuse(name, "is not Protobuf: it ends within the field that begins at byte %d", at)
	}
	return refuse(name, "is not Protobuf: a number of more than 64 bits in the field that begins at byte %d", at)
}

// check refuses a field that has another wire type than its name demands.
func (f *field) check(name string, want protowire.Type) *DecodeError {
	if f.typ == want {
		return nil
	}
	return refuse(name, "must have wire type %d (%s), not %d (%s)", want, kindOf(want), f.typ, kindOf(f.typ))
}

// kindOf names a wire type that nextField accepts.
func kindOf(t protowire.Type) string {
	switch t {
	case protowire.VarintType:
		return "a number"
	case protowire.BytesType:
		return "length and bytes"
	case protowire.Fixed32Type:
		return "4 bytes"
	default:
		return "8 bytes"
	}
}

func (f *field) text(name string, dst *string) *DecodeError {
	if err := f.check(name, protowire.BytesType); err != nil {
		return err
	}
	if !utf8.Valid(f.bytes) {
		return refuse(name, "is not valid UTF-8")
	}
	*dst = string(f.bytes)
	return nil
}

func (f *field) unsigned(name string, dst *uint64) *DecodeError {
	err := f.check(name, protowire.VarintType)
	switch {
	case err != nil:
		return err
	case f.value > MaxID:
		return refuse(name, mustBeUnsigned, f.kind())
	}
	*dst = f.value
	return nil
}

func (f *field) integer(name string, dst *int64) *DecodeError {
	err := f.check(name, protowire.VarintType)
	n := int64(f.value)
	switch {
	case err != nil:
		return err
	case n > MaxID || n < -MaxID:
		return refuse(name, mustBeInteger, f.signedKind())
	}
	*dst = n
	return nil
}

func (f *field) count(name string, dst *int) *DecodeError {
	err := f.check(name, protowire.VarintType)
	n := int64(f.value)
	switch {
	case err != nil:
		return err
	case n > math.MaxInt32 || n < math.MinInt32:
		return refuse(name, mustBeCount, f.signedKind())
	}
	*dst = int(n)
	return nil
}

func (f *field) code(name string, dst *Code) *DecodeError {
	err := f.check(name, protowire.VarintType)
	switch {
	case err != nil:
		return err
	case f.value > math.MaxUint16:
		return refuse(name, mustBeCode, f.kind())
	}
	*dst = Code(f.value)
	return nil
}

func (f *field) kind() string       { return "the number " + strconv.FormatUint(f.value, 10) }
func (f *field) signedKind() string { return "the number " + strconv.FormatInt(int64(f.value), 10) }

// header adds one entry of a map to dst. A part that is absent is empty.
func (f *field) header(name string, dst *map[string]string) *DecodeError {
	if err := f.check(name, protowire.BytesType); err != nil {
		return err
	}
	var key, value string
	err := readMessage(f.bytes, name, func(w *wire) {
		w.text(1, name, &key)
		w.text(2, name, &value)
	})
	if err != nil {
		return err
	}
	if *dst == nil {
		*dst = map[string]string{}
	}
	(*dst)[key] = value
	return nil
}
