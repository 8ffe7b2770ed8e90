package sse

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
)

// Bounds of the resume token.
const (
	maxTokenBytes  = 4096
	maxTokenParts  = 256
	channelHashLen = 6
	// maxStreams is how many positions, at their longest, fit a token.
	maxStreams = (maxTokenBytes + 1) / (fanout.MaxPositionBytes + 1)
)

// channelHash names a channel in a token: 36 bits of its SHA-256.
func channelHash(c fanout.Channel) string {
	sum := sha256.Sum256([]byte(c.String()))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:channelHashLen]
}

// token is a parsed resume token.
type token struct {
	named map[string][]fanout.Position // by channel hash
	plain []fanout.Position            // of a connection with one channel or pattern
}

// parseToken reads a resume token of a connection with that many channels. Errors
// name field.
func parseToken(field, s string, channels int) (token, error) {
	t := token{}
	if s == "" {
		return t, nil
	}
	if len(s) > maxTokenBytes {
		return t, session.BadRequest(field, "has %d bytes, at most %d are allowed; give back a token exactly as it was received", len(s), maxTokenBytes)
	}
	named := map[string][]string{}
	var plain []string
	for part := range strings.SplitSeq(s, ",") {
		hash, position, found := strings.Cut(part, ".")
		switch {
		case !found:
			plain = append(plain, part)
		case len(hash) != channelHashLen:
			return t, session.BadRequest(field, "%.64q is not part of a resume token; give one back exactly as it was received", part)
		default:
			named[hash] = append(named[hash], position)
		}
	}
	if len(plain) > 0 && channels > 1 {
		return t, session.BadRequest(field, "%.64q is a position of one channel, and the request names %d; give a resume token (the id of an event) of these channels, or use a connection for each", plain[0], channels)
	}
	if len(plain)+len(named) > maxTokenParts {
		return t, session.BadRequest(field, "has over %d positions", maxTokenParts)
	}
	var err error
	if t.plain, err = parsePositions(field, plain); err != nil {
		return token{}, err
	}
	t.named = make(map[string][]fanout.Position, len(named))
	for hash, list := range named {
		if t.named[hash], err = parsePositions(field, list); err != nil {
			return token{}, err
		}
	}
	return t, nil
}

func parsePositions(field string, list []string) ([]fanout.Position, error) {
	out, err := fanout.ParsePositions(list)
	if err != nil {
		return nil, session.BadRequest(field, "%s", session.ErrorEvent(err).Message)
	}
	return out, nil
}

// of returns where c resumes: none if the token does not name it.
func (t token) of(c fanout.Channel) []fanout.Position {
	if own := t.named[channelHash(c)]; len(own) > 0 {
		return own
	}
	return t.plain
}

// place is where one channel of a connection stands.
type place struct {
	channel   fanout.Channel
	hash      string // "" on a connection with one channel or pattern
	positions []fanout.Position
}

// advance notes the positions of an event: of one stream, or of all.
func (p *place) advance(to []fanout.Position) {
	if len(to) == 0 {
		return
	}
	if !p.channel.IsPattern() || len(to) > 1 {
		p.positions = append(p.positions[:0], to...)
		return
	}
	for i := range p.positions {
		if p.positions[i].Stream.SameStream(to[0].Stream) {
			p.positions[i] = to[0]
			return
		}
	}
	p.positions = append(p.positions, to[0])
}

// appendToken appends the token of all places.
func appendToken(dst []byte, places []place) []byte {
	first := true
	for i := range places {
		for _, at := range places[i].positions {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			if places[i].hash != "" {
				dst = append(append(dst, places[i].hash...), '.')
			}
			dst = at.Append(dst)
		}
	}
	return dst
}
