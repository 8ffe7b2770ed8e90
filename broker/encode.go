package broker

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// Headers of a stored message, all absent from a plain one.
const (
	hdrKind    = "Rv-Kind"    // kindPurge or kindDeleted
	hdrTarget  = "Rv-Target"  // kindDeleted: the offset
	hdrID      = "Rv-Id"      // idempotency key, escaped
	hdrUser    = "Rv-User"    // escaped
	hdrClient  = "Rv-Client"  // escaped
	hdrHeaders = "Rv-Headers" // one JSON object on one line
	hdrBinary  = "Rv-Binary"  // "1"

	hdrMsgID  = "Nats-Msg-Id"
	hdrRollup = "Nats-Rollup"
	rollupSub = "sub"

	kindPurge   = "purge"
	kindDeleted = "deleted"
)

// headerSlack is what the server's own headers and their names need of
// migrations.HeaderRoom.
const headerSlack = 2 << 10

// plainPublication reports whether nothing but the data is stored.
func plainPublication(p *fanout.Publication) bool {
	return p.Key == "" && p.User == "" && p.Client == "" && len(p.Headers) == 0 && !p.Binary &&
		p.ConflationKey == "" && p.Updates == 0 && p.Exclude == "" && p.TTL == 0 && p.Expected == nil
}

// encode makes the stored form of a publication, for a namespace that keeps its
// messages for maxAge; 0 or less is unlimited.
func encode(p *fanout.Publication, subject string, maxAge time.Duration) (*nats.Msg, error) {
	m := &nats.Msg{Subject: subject, Data: p.Data}
	if plainPublication(p) {
		return m, nil
	}
	m.Header = make(nats.Header, 6)
	set := func(key, value string) {
		if value != "" {
			m.Header[key] = []string{value}
		}
	}
	if p.Key != "" {
		set(hdrMsgID, messageID(p))
		set(hdrID, escape(p.Key))
	}
	set(hdrUser, escape(p.User))
	set(hdrClient, escape(p.Client))
	if p.Binary {
		set(hdrBinary, "1")
	}
	options(set, p, maxAge)
	if len(p.Headers) > 0 {
		b, err := json.Marshal(p.Headers)
		if err != nil {
			return nil, fmt.Errorf("encode headers: %w", err)
		}
		set(hdrHeaders, string(b)) // control characters are escaped in JSON
	}
	size := 0
	for k, v := range m.Header {
		size += len(k) + len(v[0]) + 4
	}
	if most := migrations.HeaderRoom - headerSlack; size > most {
		return nil, &fanout.SizeError{Problem: fmt.Sprintf("fits, but headers, key and names of the publisher take %d bytes, at most %d are allowed", size, most)}
	}
	return m, nil
}

// messageID is what JetStream compares within its window, which is one per
// stream: without the channel, one key on two channels would swallow the second
// message, and without the publisher, one could suppress another's.
func messageID(p *fanout.Publication) string { return encodeID(keyHash(p)) }

// encodeID is how 16 bytes are written as a message ID.
func encodeID(id [idBytes]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// idBytes is the length of a message ID before it is encoded.
const idBytes = 16

func keyHash(p *fanout.Publication) [idBytes]byte {
	h := sha256.New()
	var n [8]byte
	for _, part := range []string{p.Channel.String(), p.Publisher, p.Key} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		_, _ = h.Write(n[:]) // never fails
		_, _ = h.Write([]byte(part))
	}
	return [idBytes]byte(h.Sum(nil)[:idBytes])
}

// decode makes the message that s stores. ok is false for what this service did
// not write.
func (d *decoder) decode(s *stream, m stored) (msg *fanout.Message, ok bool) {
	channel, ok := d.channel(m.subject, s.layout.Namespace)
	if !ok {
		return nil, false
	}
	msg = &fanout.Message{
		Channel:  channel,
		Stream:   s.id(),
		Position: s.position(m.seq, m.time),
		Data:     m.data,
	}
	if len(m.header) == 0 {
		return msg, true
	}
	switch first(m.header, hdrKind) {
	case "":
	case kindPurge:
		msg.Kind = fanout.KindPurge
	case kindDeleted:
		msg.Kind = fanout.KindDeleted
		target, err := strconv.ParseUint(first(m.header, hdrTarget), 10, 64)
		if err != nil {
			return nil, false
		}
		msg.Target = target
	default:
		return nil, false
	}
	return msg, decodeNames(msg, m.header) && decodeOptions(msg, m.header)
}

func decodeNames(msg *fanout.Message, h nats.Header) (ok bool) {
	msg.Binary = first(h, hdrBinary) != ""
	var ok1, ok2, ok3 bool
	msg.ID, ok1 = unescape(first(h, hdrID))
	msg.User, ok2 = unescape(first(h, hdrUser))
	msg.Client, ok3 = unescape(first(h, hdrClient))
	if headers := first(h, hdrHeaders); headers != "" && json.Unmarshal([]byte(headers), &msg.Headers) != nil {
		return false
	}
	return ok1 && ok2 && ok3
}

func first(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

const hexDigits = "0123456789ABCDEF"

// escape writes s as visible ASCII: a header's value loses spaces at its ends,
// and a line break would begin another header.
func escape(s string) string {
	clean := true
	for i := range len(s) {
		clean = clean && visible(s[i])
	}
	if clean {
		return s
	}
	b := make([]byte, 0, 3*len(s))
	for i := range len(s) {
		if c := s[i]; visible(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(b)
}

func visible(c byte) bool { return c > ' ' && c < 0x7f && c != '%' }

func unescape(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), true
}
