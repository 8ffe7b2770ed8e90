package websocket

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/rivulet-rt/rivulet/fanout"
)

// deflated is a codec whose longer messages are compressed (RFC 7692), once for all
// connections that negotiated it. Every message is compressed by itself, without what
// came before it, so that they can be shared.
type deflated struct {
	*codec

	above  int // compressing is tried for payloads longer than this, in bytes
	slot   int
	encode func(*fanout.Message) []byte
}

func newDeflated(plain *codec, above, slot int) *deflated {
	d := &deflated{codec: plain, above: above, slot: slot}
	d.encode = d.messageFrame
	return d
}

// Message implements session.Codec.
func (d *deflated) Message(m *fanout.Message) []byte { return m.Frame(d.slot, d.encode) }

func (d *deflated) messageFrame(m *fanout.Message) []byte {
	plain := d.codec.Message(m) // also what others get, and what is sent if nothing is gained
	header := headerSize(plain)
	if len(plain)-header <= d.above {
		return plain
	}
	if f := deflateFrame(d.opcode, plain[header:]); len(f) < len(plain) {
		return bytes.Clone(f) // of its own length: it was made as long as the payload
	}
	return plain
}

// deflateFrame makes a frame of a compressed payload.
func deflateFrame(opcode byte, payload []byte) []byte {
	return build(opcode|rsv1Bit, len(payload), func(dst []byte) []byte {
		out := bytes.NewBuffer(dst)
		// Writing to memory does not fail. It ends with a flush, whose marker a message
		// goes without (RFC 7692 section 7.2.1).
		_ = flate.StatelessDeflate(out, payload, false, nil)
		return bytes.TrimSuffix(out.Bytes(), []byte{0, 0, 0xff, 0xff})
	})
}

// headerSize is that of an unmasked frame.
func headerSize(frame []byte) int {
	switch frame[1] {
	case length16:
		return 2 + extended16Length
	case length64:
		return 2 + extended64Length
	}
	return 2
}

// Names of RFC 7692.
const (
	extensions = "Sec-Websocket-Extensions"
	deflate    = "permessage-deflate"
)

// negotiate leaves of what the client offers what gorilla answers rightly: it says
// yes to whatever permessage-deflate there is, and compresses with the largest window.
func negotiate(h http.Header, allowed bool) (agreed bool) {
	for _, line := range h.Values(extensions) {
		for offer := range strings.SplitSeq(line, ",") {
			agreed = agreed || allowed && acceptable(offer)
		}
	}
	h.Del(extensions)
	if agreed {
		h.Set(extensions, deflate)
	}
	return agreed
}

// acceptable reports whether an offer asks for nothing that is not done anyway.
func acceptable(offer string) bool {
	name, params, _ := strings.Cut(offer, ";")
	if strings.TrimSpace(name) != deflate {
		return false
	}
	seen := map[string]bool{}
	for param := range strings.SplitSeq(params, ";") {
		key, value, given := strings.Cut(strings.TrimSpace(param), "=")
		key = strings.TrimSpace(key)
		if seen[key] {
			return false
		}
		seen[key] = true
		switch {
		case key == "" && params == "":
		case key == "server_no_context_takeover" && !given, key == "client_no_context_takeover" && !given:
		case key == "client_max_window_bits":
			value = strings.Trim(strings.TrimSpace(value), `"`)
			bits, err := strconv.Atoi(value)
			if given && (err != nil || bits < 8 || bits > 15 || strconv.Itoa(bits) != value) { // no zero in front
				return false
			}
		default: // server_max_window_bits among them: the window is not ours to set
			return false
		}
	}
	return true
}
