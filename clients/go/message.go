package rivulet

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Message is one message of a channel.
type Message struct {
	Channel string
	// Offset grows within the channel, with holes.
	Offset uint64
	// Position to resume after this message: SubscribeOptions.Position.
	Position string
	// Time at which it was stored.
	Time time.Time
	// ID is the publisher's idempotency key; User and Client are who published,
	// where known.
	ID      string
	User    string
	Client  string
	Headers map[string]string
	// Data is the message as JSON; nil where it is bytes.
	Data json.RawMessage
	// Bytes is the message as bytes; nil where it is JSON.
	Bytes []byte
	// ConflationKey and Updates are the publisher's: see PublishOptions.
	ConflationKey string
	Updates       uint64

	life uint64 // of a durable subscription: see acks
}

// Decode reads Data into v, as json.Unmarshal does.
func (m *Message) Decode(v any) error {
	if m.Data == nil {
		return errors.New("rivulet: decode: the message is bytes, not JSON")
	}
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("rivulet: decode message %d of %s: %w", m.Offset, m.Channel, err)
	}
	return nil
}

func newMessage(e *protocol.MessageEvent) (*Message, error) {
	m := &Message{
		Channel: canonical(e.Channel), Offset: e.Offset, Position: e.Position, Time: time.UnixMilli(e.Time),
		ID: e.ID, User: e.User, Client: e.Client, Headers: e.Headers, Data: e.Data,
		ConflationKey: e.ConflationKey, Updates: e.Updates,
	}
	if e.DataBase64 == nil {
		m.Bytes = e.Bytes
		return m, nil
	}
	bytes, err := base64.StdEncoding.DecodeString(*e.DataBase64)
	if err != nil {
		return nil, fmt.Errorf("rivulet: message %d of %s: data_base64: %w", e.Offset, e.Channel, err)
	}
	m.Bytes = append([]byte{}, bytes...)
	return m, nil
}

// size is what the message counts against a buffer, in bytes.
func (m *Message) size() int { return len(m.Data) + len(m.Bytes) + 256 }

// Kind tells what an Update is.
type Kind uint8

// The kinds of updates.
const (
	// KindMessage: a message.
	KindMessage Kind = iota
	// KindSubscribed: the subscription begins at Positions, for the first time or
	// after a lost connection. If Resumed, it was asked to go on from a position; if
	// then not Recovered, messages after that one may be missing, for Reason.
	KindSubscribed
	// KindCaughtUp: replay has reached live.
	KindCaughtUp
	// KindGap: messages before Positions are gone, for Reason.
	KindGap
	// KindPosition: nothing new, but a fresher place to resume from.
	KindPosition
	// KindDeleted: the message at Offset was deleted from the log.
	KindDeleted
	// KindPresence: members have come or gone; see SubscribeOptions.Presence.
	KindPresence
)

// Update is one thing a subscription has to tell, in its order.
type Update struct {
	Kind    Kind
	Message *Message // KindMessage only
	// Channel or pattern of the subscription; of KindMessage, KindDeleted and
	// KindGap after a purge, the channel that it concerns.
	Channel string
	// Positions to resume from: one for a channel; for a pattern, all in
	// KindSubscribed and KindCaughtUp and the changed one otherwise.
	Positions []string
	Resumed   bool
	Recovered bool
	Reason    string
	Offset    uint64
	Presence  *Presence // KindPresence only

	life uint64 // see acks
	// aside says that it is not of this subscription's cursor: it says nothing of where that is.
	aside bool
}

// Gap returns an error if the update tells of lost messages, else nil.
func (u Update) Gap() *GapError {
	if u.Kind == KindGap || u.Kind == KindSubscribed && u.Resumed && !u.Recovered {
		return &GapError{Channel: u.Channel, Reason: u.Reason, Positions: u.Positions}
	}
	return nil
}

func (u Update) size() int {
	if u.Message != nil {
		return u.Message.size()
	}
	if u.Presence != nil {
		return u.Presence.size()
	}
	return 0
}

// encodeData turns what the application publishes into JSON, or bytes that are not nil.
func encodeData(data any) (raw json.RawMessage, b []byte, err error) {
	switch d := data.(type) {
	case []byte:
		if d == nil {
			d = []byte{}
		}
		return nil, d, nil
	case json.RawMessage:
		raw = d
	default:
		if raw, err = json.Marshal(data); err != nil {
			return nil, nil, &Error{Code: protocol.ErrorBadRequest, Field: "data", Message: "cannot be written as JSON", cause: err}
		}
	}
	compact, err := protocol.CompactData(raw)
	if de, bad := errors.AsType[*protocol.DecodeError](err); bad {
		return nil, nil, &Error{Code: protocol.ErrorBadRequest, Field: de.Field, Message: de.Problem}
	}
	return compact, nil, nil
}
