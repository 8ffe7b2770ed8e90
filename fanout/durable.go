package fanout

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// What keeping durable sessions can answer, beside ErrUnavailable, ErrDiskFull,
// *InputError and *LimitError.
var (
	// ErrSuperseded: the session belongs to a newer connection, or was reset or
	// deleted. Nothing was written.
	ErrSuperseded = errors.New("fanout: the durable session belongs to a newer connection")
	// ErrNoSession: there is no such durable session, or it has expired.
	ErrNoSession = errors.New("fanout: no such durable session")
	// ErrSessionsOff: the namespace keeps no durable sessions.
	ErrSessionsOff = errors.New("fanout: the namespace keeps no durable sessions")
	// ErrNotStored: no message of the channel is stored at the offset.
	ErrNotStored = errors.New("fanout: no message of the channel is stored at the offset")
)

// LimitError says that a limit is reached: Field names what it is about, Problem
// says which limit and what to do. Its text is safe to show to the client.
type LimitError struct {
	Field   string
	Problem string
	// Lasting says that waiting does not help.
	Lasting bool
}

func (e *LimitError) Error() string { return e.Field + ": " + e.Problem }

// SessionID names a durable session, one of a user's own.
type SessionID struct{ User, Name string }

// SessionRecord is what the log keeps of a durable session. Who took it holds it
// and writes it; everybody else has a copy.
type SessionRecord struct {
	ID SessionID
	// Revision of the record in the log. A write fails unless it is still that.
	Revision uint64
	// Node and Client name the connection that has the session, or had it when its node
	// died; "" while there is none.
	Node, Client string
	Created      time.Time
	// Seen is when the record was last written, which a node does now and then while
	// the session is connected.
	Seen time.Time
	// TTL is how long after Seen the session expires.
	TTL time.Duration
	// Channels that it is subscribed to, in the order of their names.
	Channels []SessionChannel
	// Unsure says that nobody knows whether the last write was stored. It is the store's
	// business, and not written.
	Unsure bool
}

// SessionChannel is a durable session's place in one channel.
type SessionChannel struct {
	Channel Channel
	// Position up to which everything was acknowledged; zero where it was lost.
	Position Position
	// Reset says that an operator put it there and the client has acknowledged nothing
	// since: what it knew before means nothing.
	Reset bool
	// Fence is the store's business: it keeps those away that held the session before.
	Fence string
	// Began is the offset at which the place was put: up to it the session has acknowledged
	// nothing, whatever Position says.
	Began uint64
}

// SessionChange is what a holder writes. The zero value says no more than that the
// session is still connected.
type SessionChange struct {
	Moved   []SessionChannel // new positions in channels that it has
	Added   []SessionChannel
	Removed []Channel
	Release bool // the connection has ended
}

// Expires is when the session is gone unless it is written before.
func (r *SessionRecord) Expires() time.Time { return r.Seen.Add(r.TTL) }

// Find returns the session's place in a channel, nil if it has none.
func (r *SessionRecord) Find(c Channel) *SessionChannel {
	if i := slices.IndexFunc(r.Channels, func(k SessionChannel) bool { return k.Channel == c }); i >= 0 {
		return &r.Channels[i]
	}
	return nil
}

// Names are the session's channels.
func (r *SessionRecord) Names() []Channel {
	names := make([]Channel, len(r.Channels))
	for i, k := range r.Channels {
		names[i] = k.Channel
	}
	return names
}

// Sort puts the channels into their order.
func (r *SessionRecord) Sort() {
	slices.SortFunc(r.Channels, func(a, b SessionChannel) int { return strings.Compare(a.Channel.String(), b.Channel.String()) })
}

// Clone copies the record with its list.
func (r *SessionRecord) Clone() *SessionRecord {
	c := *r
	c.Channels = slices.Clone(r.Channels)
	return &c
}

// YieldReason says why a connection loses its durable session.
type YieldReason string

// The reasons.
const (
	YieldTaken   YieldReason = "taken"   // a newer connection has it
	YieldReset   YieldReason = "reset"   // an operator moved its positions: the client comes back
	YieldDeleted YieldReason = "deleted" // an operator deleted it
)
