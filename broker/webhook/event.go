package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Type says what happened.
type Type string

// The types.
const (
	ChannelOccupied    Type = "channel.occupied"
	ChannelVacated     Type = "channel.vacated"
	MemberJoined       Type = "member.joined"
	MemberLeft         Type = "member.left"
	MessagePublished   Type = "message.published"
	MessageUndelivered Type = "message.undelivered"
	SessionExpired     Type = "session.expired"
	// Test is what Engine.Test sends; nobody subscribes to it.
	Test Type = "test"
)

// Presence reports whether it tells who is subscribed.
func (t Type) Presence() bool {
	return t == ChannelOccupied || t == ChannelVacated || t == MemberJoined || t == MemberLeft
}

// Types are those that a webhook can ask for.
func Types() []Type {
	return []Type{ChannelOccupied, ChannelVacated, MemberJoined, MemberLeft, MessagePublished, MessageUndelivered, SessionExpired}
}

// Event is one as a webhook gets it.
type Event struct {
	// ID is the same however often the event is sent.
	ID      string `json:"id"`
	Type    Type   `json:"type"`
	Time    int64  `json:"time"` // Unix milliseconds at which it happened
	Channel string `json:"channel,omitempty"`
	// User whose session expired, or who was not reached by a message.
	User    string   `json:"user,omitempty"`
	Member  *Member  `json:"member,omitempty"`
	Message *Message `json:"message,omitempty"`
	// Session and Channels are of SessionExpired.
	Session  string   `json:"session,omitempty"`
	Channels []string `json:"channels,omitempty"`
	// HasSession is of MessageUndelivered: the user has a durable session on the channel.
	HasSession *bool `json:"has_session,omitempty"`
}

// Member is who came or went: a user, however many connections they have, or one
// connection of nobody in particular.
type Member struct {
	User   string          `json:"user,omitempty"`
	Client string          `json:"client,omitempty"`
	Info   json.RawMessage `json:"info,omitempty"`
}

// Message is a stored message.
type Message struct {
	Offset   uint64            `json:"offset"`
	Position string            `json:"position"`
	Time     int64             `json:"time"` // Unix milliseconds
	ID       string            `json:"id,omitempty"`
	User     string            `json:"user,omitempty"`
	Client   string            `json:"client,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Data     json.RawMessage   `json:"data,omitempty"`
	Bytes    []byte            `json:"data_base64,omitempty"`
	// Omitted says that the data was too large to be kept with the event: read it from
	// the channel.
	Omitted bool `json:"data_omitted,omitempty"`
}

func messageOf(m *fanout.Message) *Message {
	out := &Message{
		Offset: m.Offset(), Position: m.Position.String(), Time: m.UnixMilli(),
		ID: m.ID, User: m.User, Client: m.Client, Headers: m.Headers,
	}
	switch {
	case m.Binary:
		out.Bytes = m.Data
	case len(m.Data) > 0:
		out.Data = m.Data
	}
	return out
}

// eventID is the same for the same parts, and for no others.
func eventID(t Type, parts ...string) string {
	h := sha256.New()
	var n [8]byte
	for _, part := range append([]string{string(t)}, parts...) {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		_, _ = h.Write(n[:]) // never fails
		_, _ = h.Write([]byte(part))
	}
	return "ev_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:15]))
}

// messageID names a message for ever: its stream, its place and its time there, which
// no other has even where somebody put an older copy of the log in its place.
func messageID(t Type, m *fanout.Message) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], m.Offset())
	binary.BigEndian.PutUint64(b[8:], uint64(m.Position.Time))
	return eventID(t, string(m.Stream), string(b[:]))
}

func (e *Event) at(t time.Time) *Event {
	e.Time = t.UnixMilli()
	return e
}

// record makes what is stored of an event.
func (e *Event) record(key string) (Record, error) {
	data, err := encode(e)
	return Record{ID: e.ID, Key: key, Data: data}, err
}

// encode writes in JSON, and does not make what is JSON already longer: the data of a
// message, the info of a member.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// lean is the event without the data of its message.
func (e *Event) lean() *Event {
	if e.Message == nil {
		return e
	}
	out, m := *e, *e.Message
	m.Data, m.Bytes, m.Omitted = nil, nil, true
	out.Message = &m
	return &out
}
