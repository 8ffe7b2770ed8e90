package fanout

import (
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Bounds of publish options.
const (
	MaxTTL   = 10 * 365 * 24 * time.Hour // of one message
	MaxAhead = 365 * 24 * time.Hour      // of a scheduled message
	// leastDeliverAt, 2001-09-09, is above every time in seconds of this age: a publisher
	// who sends those is told so, rather than taken to mean 1970.
	leastDeliverAt = 1e12
	// clientIDBytes is the length of a connection's ID, in hexadecimal.
	clientIDBytes = 16
)

// PublishOptions are what a publisher may ask for beside its message, as the wire has
// it: see protocol.PublishCommand. The zero value asks for nothing.
type PublishOptions struct {
	TTL            int64   // seconds
	DeliverAt      int64   // Unix milliseconds
	Delay          int64   // milliseconds
	ExpectedOffset *uint64 // nil: none
	Exclude        string
	ConflationKey  string
	Updates        uint64
}

// Apply checks options and gives them to a publication; what is due at once is not
// scheduled. Errors are *InputError. It touches nothing else of p.
func (p *Publication) Apply(o PublishOptions, now time.Time) error {
	if o == (PublishOptions{}) {
		return nil
	}
	if err := o.check(); err != nil {
		return err
	}
	p.TTL = time.Duration(o.TTL) * time.Second
	p.Expected = o.ExpectedOffset
	p.Exclude, p.ConflationKey, p.Updates = o.Exclude, o.ConflationKey, o.Updates
	at := o.DeliverAt
	if o.Delay > 0 {
		at = now.UnixMilli() + o.Delay
	}
	if limit := now.Add(MaxAhead).UnixMilli(); at > limit {
		return badInput("deliver_at", "is %d, must be at most a year from now, which is %d", at, limit)
	}
	if at > now.UnixMilli() {
		p.DeliverAt = at * int64(time.Millisecond)
	}
	return nil
}

func (o *PublishOptions) check() error {
	switch {
	case o.TTL < 0 || o.TTL > int64(MaxTTL/time.Second):
		return badInput("ttl", "is %d, must be from 1 to %d seconds", o.TTL, int64(MaxTTL/time.Second))
	case o.Delay < 0 || o.Delay > MaxAhead.Milliseconds():
		return badInput("delay", "is %d, must be from 1 to %d milliseconds, a year", o.Delay, MaxAhead.Milliseconds())
	case o.DeliverAt != 0 && o.Delay != 0:
		return badInput("delay", "cannot be given together with deliver_at")
	case o.DeliverAt != 0 && o.DeliverAt < leastDeliverAt:
		return badInput("deliver_at", "is %d, which is no time after 2001: deliver_at is in milliseconds, %d for now", o.DeliverAt, time.Now().UnixMilli())
	case o.Updates > protocol.MaxID:
		return badInput("updates", "is %d, must be the offset of a message, at most %d", o.Updates, uint64(protocol.MaxID))
	case o.ExpectedOffset != nil && *o.ExpectedOffset > protocol.MaxID:
		return badInput("expected_offset", "is %d, must be an offset, at most %d, or 0 for an empty channel", *o.ExpectedOffset, uint64(protocol.MaxID))
	case o.ExpectedOffset != nil && o.DeliverAt+o.Delay != 0:
		return badInput("expected_offset", "cannot be given for a scheduled message: when it is due there is nobody to tell that the channel has moved on")
	case o.Exclude != "" && !isClientID(o.Exclude):
		return badInput("exclude", "%q must be the ID of a connection, as connected told it: %d of 0-9 and a-f", clip(o.Exclude), clientIDBytes)
	}
	return checkConflationKey(o.ConflationKey)
}

func isClientID(s string) bool {
	ok := len(s) == clientIDBytes
	for i := range len(s) {
		ok = ok && (s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f')
	}
	return ok
}

func checkConflationKey(key string) error {
	if len(key) > protocol.MaxConflationKey {
		return badInput("conflation_key", "has %d bytes, at most %d are allowed", len(key), protocol.MaxConflationKey)
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return badInput("conflation_key", "%q must be printable ASCII without spaces", clip(key))
		}
	}
	return nil
}

// ExpectedOffsetError wraps ErrExpectedOffset.
type ExpectedOffsetError struct {
	Last uint64 // the offset of the channel's last message, 0 if it has none
}

func (e *ExpectedOffsetError) Error() string {
	return fmt.Sprintf("%v: it is %d", ErrExpectedOffset, e.Last)
}

// Unwrap makes errors.Is match ErrExpectedOffset.
func (e *ExpectedOffsetError) Unwrap() error { return ErrExpectedOffset }
