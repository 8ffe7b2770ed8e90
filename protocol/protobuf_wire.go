package protocol

import (
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// wire goes through the fields of a message: each message lists them once, in its
// method wire, for both directions, so that they cannot disagree. When writing, it
// appends those that are not zero; when reading, it looks for the one at hand.
type wire struct {
	dst []byte // written so far

	reading bool
	field   field        // of reading: the one at hand
	err     *DecodeError // of reading: what is wrong with it
}

// here reports whether the field at hand is num, when reading.
func (w *wire) here(num protowire.Number) bool { return w.reading && w.field.num == num }

func (w *wire) tag(num protowire.Number, typ protowire.Type) {
	w.dst = protowire.AppendTag(w.dst, num, typ)
}

func (w *wire) varint(num protowire.Number, n uint64) {
	w.tag(num, protowire.VarintType)
	w.dst = protowire.AppendVarint(w.dst, n)
}

func (w *wire) string(num protowire.Number, s string) {
	w.tag(num, protowire.BytesType)
	w.dst = protowire.AppendString(w.dst, valid(s))
}

func (w *wire) text(num protowire.Number, name string, s *string) {
	switch {
	case w.here(num):
		w.err = w.field.text(name, s)
	case !w.reading && *s != "":
		w.string(num, *s)
	}
}

// key is the text of an idempotency key, which is not empty where it is given.
func (w *wire) key(num protowire.Number, name string, s *string) {
	w.text(num, name, s)
	if w.here(num) && w.err == nil && *s == "" {
		w.err = emptyKey()
	}
}

func (w *wire) texts(num protowire.Number, name string, list *[]string) {
	switch {
	case w.here(num):
		var s string
		if w.err = w.field.text(name, &s); w.err == nil {
			*list = append(*list, s)
		}
	case !w.reading:
		for _, s := range *list {
			w.string(num, s)
		}
	}
}

func (w *wire) unsigned(num protowire.Number, name string, n *uint64) {
	switch {
	case w.here(num):
		w.err = w.field.unsigned(name, n)
	case !w.reading && *n != 0:
		w.varint(num, *n)
	}
}

// unsignedPointer is a number whose presence says something, also where it is 0.
func (w *wire) unsignedPointer(num protowire.Number, name string, n **uint64) {
	switch {
	case w.here(num):
		read := new(uint64)
		if w.err = w.field.unsigned(name, read); w.err == nil {
			*n = read
		}
	case !w.reading && *n != nil:
		w.varint(num, **n)
	}
}

func (w *wire) integer(num protowire.Number, name string, n *int64) {
	switch {
	case w.here(num):
		w.err = w.field.integer(name, n)
	case !w.reading && *n != 0:
		w.varint(num, uint64(*n))
	}
}

func (w *wire) count(num protowire.Number, name string, n *int) {
	switch {
	case w.here(num):
		w.err = w.field.count(name, n)
	case !w.reading && *n != 0:
		w.varint(num, uint64(*n))
	}
}

func (w *wire) code(num protowire.Number, name string, c *Code) {
	switch {
	case w.here(num):
		w.err = w.field.code(name, c)
	case !w.reading && *c != 0:
		w.varint(num, uint64(*c))
	}
}

func (w *wire) boolean(num protowire.Number, name string, b *bool) {
	switch {
	case w.here(num):
		if w.err = w.field.check(name, protowire.VarintType); w.err == nil {
			*b = w.field.value != 0
		}
	case !w.reading && *b:
		w.varint(num, 1)
	}
}

// json is data, or a member's info: when reading, whatever wrote it, it is what CompactData gives.
func (w *wire) json(num protowire.Number, name string, data *json.RawMessage) {
	switch {
	case w.here(num):
		if w.err = w.field.check(name, protowire.BytesType); w.err == nil {
			*data, w.err = compact(w.field.bytes, name)
		}
	case !w.reading && len(*data) > 0:
		w.tag(num, protowire.BytesType)
		w.dst = protowire.AppendBytes(w.dst, *data)
	}
}

// binary is bytes; when writing, they may be in base64.
func (w *wire) binary(num protowire.Number, name string, b *[]byte, b64 *string) {
	switch {
	case w.here(num):
		if w.err = w.field.check(name, protowire.BytesType); w.err == nil {
			*b = append([]byte{}, w.field.bytes...)
		}
	case !w.reading && b64 != nil:
		at := w.open(num, base64.StdEncoding.DecodedLen(len(*b64)))
		w.dst, _ = base64.StdEncoding.AppendDecode(w.dst, []byte(*b64)) // up to a fault in it
		w.close(at)
	case !w.reading && *b != nil:
		w.tag(num, protowire.BytesType)
		w.dst = protowire.AppendBytes(w.dst, *b)
	}
}

// headers are written in the order of their names.
func (w *wire) headers(num protowire.Number, name string, m *map[string]string) {
	switch {
	case w.here(num):
		w.err = w.field.header(name, m)
	case !w.reading && len(*m) > 0:
		var room [MaxHeaders]string
		for _, k := range sortedNames(room[:0], *m) {
			v := (*m)[k]
			at := w.open(num, len(k)+len(v)+4)
			w.string(1, k)
			w.string(2, v)
			w.close(at)
		}
	}
}

func (w *wire) messages(num protowire.Number, name string, h *HistoryEvent) {
	switch {
	case w.here(num):
		var m MessageEvent
		if w.err = w.field.check(name, protowire.BytesType); w.err == nil {
			w.err = readMessage(w.field.bytes, name, m.wire)
		}
		if w.err == nil {
			w.err = h.add(m)
		}
	case !w.reading:
		for i := range h.Messages {
			h.Messages[i].append(w, num)
		}
	}
}

// opened is a message that is being written: where it begins, and the room left
// before it for its length.
type opened struct{ from, room int }

// open begins a message of about size bytes as the field num. What is between its
// length and its end is not known before it is written: close puts a length of
// another size right by moving what was written.
func (w *wire) open(num protowire.Number, size int) opened {
	w.tag(num, protowire.BytesType)
	w.dst = protowire.AppendVarint(w.dst, uint64(size))
	return opened{from: len(w.dst), room: protowire.SizeVarint(uint64(size))}
}

func (w *wire) close(at opened) {
	size := len(w.dst) - at.from
	begin, room := at.from-at.room, protowire.SizeVarint(uint64(size))
	for range room - at.room {
		w.dst = append(w.dst, 0)
	}
	copy(w.dst[begin+room:], w.dst[at.from:at.from+size])
	w.dst = w.dst[:begin+room+size]
	protowire.AppendVarint(w.dst[:begin], uint64(size))
}

// valid returns s with U+FFFD for each byte that is not UTF-8, as JSON has it: one
// would make every reader refuse the whole frame.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}
