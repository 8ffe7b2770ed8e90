package api

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// maxBatch bounds the messages of one batch.
const maxBatch = 1000

// message is one message as it was sent. What a batch can blame on one message
// alone (bounds, missing fields, bad names) is checked later, by publication.
type message struct {
	channel *string // of a batch; otherwise it is in the path
	data    []byte  // compact JSON; nil: not given
	base64  *string
	key     *string
	headers map[string]string
	options fanout.PublishOptions
}

// The names of a message's fields; the bit of each marks what was given.
const (
	fieldChannel = 1 << iota
	fieldData
	fieldBase64
	fieldKey
	fieldHeaders
	fieldTTL
	fieldDeliverAt
	fieldDelay
	fieldExpected
	fieldExclude
	fieldConflation
	fieldUpdates

	fieldsNumber = fieldTTL | fieldDeliverAt | fieldDelay | fieldExpected | fieldUpdates
)

func fieldBit(name string) int {
	switch name {
	case "channel":
		return fieldChannel
	case "data":
		return fieldData
	case "data_base64":
		return fieldBase64
	case "idempotency_key":
		return fieldKey
	case "headers":
		return fieldHeaders
	case "ttl":
		return fieldTTL
	case "deliver_at":
		return fieldDeliverAt
	case "delay":
		return fieldDelay
	case "expected_offset":
		return fieldExpected
	case "exclude":
		return fieldExclude
	case "conflation_key":
		return fieldConflation
	case "updates":
		return fieldUpdates
	}
	return 0
}

// decodeMessage reads the body of a publish.
func decodeMessage(body []byte) (message, error) {
	r := reader{in: body}
	m, err := r.message(false)
	if err == nil {
		err = r.end()
	}
	return m, err
}

func (r *reader) message(batch bool) (message, error) {
	var m message
	given, whole := 0, "body"
	if batch {
		whole = "messages"
	}
	err := r.object(whole, func(name string) error {
		bit := fieldBit(name)
		switch {
		case bit == 0, bit == fieldChannel && !batch:
			return unknownField(name, batch)
		case given&bit != 0:
			return wrong(name, "is given twice")
		}
		given |= bit
		return r.messageField(&m, bit, name)
	})
	return m, err
}

func (r *reader) messageField(m *message, bit int, name string) error {
	if bit == fieldHeaders && r.space() == '{' {
		var err error
		m.headers, err = r.headers()
		return err
	}
	raw, err := r.raw()
	if err != nil {
		return err
	}
	if bit == fieldData {
		m.data, err = checked(raw, name)
		return err
	}
	if isNull(raw) { // as good as absent
		return nil
	}
	if bit == fieldHeaders {
		return mustBe(name, "an object of strings", raw)
	}
	if bit&fieldsNumber != 0 {
		return m.numberField(bit, raw, name)
	}
	s, err := textOf(raw, name)
	if err != nil {
		return err
	}
	switch bit {
	case fieldChannel:
		m.channel = &s
	case fieldBase64:
		m.base64 = &s
	case fieldKey:
		m.key = &s
	case fieldExclude:
		m.options.Exclude = s
	case fieldConflation:
		m.options.ConflationKey = s
	}
	return nil
}

func (m *message) numberField(bit int, raw []byte, name string) error {
	n, err := wholeNumber(raw, name, mostOf(bit))
	if err != nil {
		return err
	}
	switch bit {
	case fieldTTL:
		m.options.TTL = n
	case fieldDeliverAt:
		m.options.DeliverAt = n
	case fieldDelay:
		m.options.Delay = n
	case fieldExpected:
		offset := uint64(n)
		m.options.ExpectedOffset = &offset
	case fieldUpdates:
		m.options.Updates = uint64(n)
	}
	return nil
}

// mostOf is what errors say that a field has at most; whether it does is checked later.
func mostOf(bit int) int64 {
	switch bit {
	case fieldTTL:
		return int64(fanout.MaxTTL / time.Second)
	case fieldDelay:
		return fanout.MaxAhead.Milliseconds()
	}
	return protocol.MaxID
}

// wholeNumber reads a number that is not negative, and exact in JavaScript.
func wholeNumber(raw []byte, field string, most int64) (int64, error) {
	if c := raw[0]; c != '-' && (c < '0' || c > '9') {
		return 0, mustBe(field, "a number", raw)
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 || n > protocol.MaxID || raw[0] == '-' || raw[0] == '0' && len(raw) > 1 {
		return 0, wrong(field, "%s must be a whole number from 0 to %d", clip(string(raw)), most)
	}
	return n, nil
}

func (r *reader) headers() (map[string]string, error) {
	headers := map[string]string{}
	err := r.object("headers", func(name string) error {
		if _, twice := headers[name]; twice {
			return wrong("headers", "%q is given twice", clip(name))
		}
		if len(headers) == protocol.MaxHeaders {
			return wrong("headers", "has more than %d entries", protocol.MaxHeaders)
		}
		value, err := r.text("headers")
		if err != nil {
			return err
		}
		headers[name] = value
		return nil
	})
	return headers, err
}

func unknownField(name string, batch bool) error {
	fields := "data, data_base64, idempotency_key, headers, ttl, deliver_at, delay, expected_offset, exclude, conflation_key and updates"
	if batch {
		fields = "channel, " + fields
	}
	if name == "channel" {
		return wrong(name, "is in the path, and must not be in the body as well")
	}
	return notAField(name, fields)
}

func notAField(name, fields string) error {
	if name == "" {
		name = `""`
	}
	return wrong(clip(name), "is not a known field; the fields are %s", fields)
}

// decodeBatch reads the body of a batch. What is wrong with the form of any
// message refuses the batch as a whole, before anything is stored.
func decodeBatch(body []byte) (list []message, atomic bool, err error) {
	var listGiven, atomicGiven bool
	r := reader{in: body}
	err = r.object("body", func(name string) error {
		var given *bool
		switch name {
		case "messages":
			given = &listGiven
		case "atomic":
			given = &atomicGiven
		default:
			return notAField(name, "messages and atomic")
		}
		if *given {
			return wrong(name, "is given twice")
		}
		*given = true
		var err error
		if given == &atomicGiven {
			atomic, err = r.boolean(name)
		} else {
			list, err = r.messages()
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err == nil && len(list) == 0 {
		err = wrong("messages", "must have 1 to %d messages", maxBatch)
	}
	return list, atomic, err
}

func (r *reader) messages() ([]message, error) {
	var list []message
	err := r.array("messages", func(i int) error {
		if i == maxBatch {
			return wrong("messages", "has more than %d messages", maxBatch)
		}
		m, err := r.message(true)
		if e, ok := errors.AsType[*protocol.DecodeError](err); ok && e.Field != "body" {
			return within(i, e)
		}
		list = append(list, m)
		return err
	})
	return list, err
}

// within names the message of a batch that e is about.
func within(i int, e *protocol.DecodeError) error {
	field := "messages[" + strconv.Itoa(i) + "]"
	if e.Field != "messages" { // the message as a whole
		field += "." + e.Field
	}
	return &protocol.DecodeError{Field: field, Problem: e.Problem}
}

func (r *reader) boolean(field string) (bool, error) {
	raw, err := r.raw()
	switch {
	case err != nil:
		return false, err
	case bytes.Equal(raw, []byte("true")):
		return true, nil
	case bytes.Equal(raw, []byte("false")), isNull(raw):
		return false, nil
	}
	return false, mustBe(field, "true or false", raw)
}

// publication checks m and makes it what is stored.
func (m *message) publication(c fanout.Channel, x *exchange) (*fanout.Publication, error) {
	p := &fanout.Publication{
		Channel: c, Data: m.data, Headers: m.headers,
		Publisher: x.claims.Publisher(), User: x.claims.Subject,
		PublishesPerSecond: x.claims.Limits.Publishes, Address: x.limitedAddress(),
	}
	switch {
	case m.data == nil && m.base64 == nil:
		return nil, wrong("data", "is missing; give data, any JSON value, or data_base64")
	case m.data != nil && m.base64 != nil:
		return nil, wrong("data_base64", "cannot be given together with data")
	case m.base64 != nil:
		var err error
		if p.Data, err = decodeBase64(*m.base64); err != nil {
			return nil, err
		}
		p.Binary = true
	}
	if m.key != nil {
		if err := checkKey(*m.key); err != nil {
			return nil, err
		}
		p.Key = *m.key
	}
	if err := p.Apply(m.options, time.Now()); err != nil {
		return nil, err
	}
	return p, checkHeaders(m.headers)
}

func decodeBase64(s string) ([]byte, error) {
	// The decoder skips line breaks, so that two texts would be one message.
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, wrong("data_base64", "is not base64; use the standard alphabet with padding and no line breaks")
	}
	return b, nil
}

func checkKey(key string) error {
	if key == "" || len(key) > protocol.MaxIdempotencyKey {
		return wrong("idempotency_key", "has %d bytes, it must have 1 to %d", len(key), protocol.MaxIdempotencyKey)
	}
	for i := range len(key) {
		if key[i] <= 0x20 || key[i] > 0x7e {
			return wrong("idempotency_key", "%q must be printable ASCII without spaces", clip(key))
		}
	}
	return nil
}

func checkHeaders(headers map[string]string) error {
	for name, value := range headers {
		switch {
		case !isToken(name) || len(name) > protocol.MaxHeaderName:
			return wrong("headers", "the name %q must have 1 to %d letters, digits or !#$%%&'*+-.^_`|~", clip(name), protocol.MaxHeaderName)
		case len(value) > protocol.MaxHeaderValue:
			return wrong("headers", "the value of %q has %d bytes, at most %d are allowed", name, len(value), protocol.MaxHeaderValue)
		case strings.ContainsFunc(value, isControl):
			return wrong("headers", "the value of %q has a control character", name)
		}
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f }

func isToken(s string) bool {
	ok := s != ""
	for i := range len(s) {
		b := s[i]
		ok = ok && (b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0)
	}
	return ok
}

// clip bounds what an error repeats of its input.
func clip(s string) string { return clipTo(s, 64) }

func clipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
