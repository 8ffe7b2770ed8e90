package rivulet

import (
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// PublishOptions go with one message. The zero value asks for nothing. A value that the
// node refuses is an *Error that names its field.
type PublishOptions struct {
	// IdempotencyKey makes repetitions safe: messages with one key, of one publisher
	// in one channel, are stored once within the namespace's window. At most 128
	// printable ASCII characters; generated if empty.
	IdempotencyKey string
	// Headers are stored and delivered with the message; at most 32.
	Headers map[string]string
	// TTL is after how long the message is gone for those who come later: whole seconds,
	// up to 10 years. 0 is the namespace's own age, which bounds it too.
	TTL time.Duration
	// DeliverAt or Delay, at most one of them, schedules the message: it is stored in its
	// channel then, and Published has Schedule and DeliverAt, but no offset yet. To the
	// millisecond, and at most a year ahead; a time that has passed stores it at once.
	DeliverAt time.Time
	Delay     time.Duration
	// ExpectedOffset stores the message only if the channel's last one has this offset,
	// new(uint64(0)) for an empty channel. Else the error has the code 4409 and the field
	// expected_offset. Not for a scheduled message.
	ExpectedOffset *uint64
	// Exclude is the connection that does not get the message: StateChange.Client of this
	// one, or Message.Client of a publisher. It has another name after it was lost.
	Exclude string
	// ConflationKey is what a newer message with the same key outdates, for those who
	// subscribe with SubscribeOptions.Conflate. At most 128 printable ASCII characters.
	ConflationKey string
	// Updates is the offset of the message in the channel of which this is a new version.
	Updates uint64
}

// leastDeliverAt, Unix milliseconds, is what nodes take: what is below is in seconds.
const leastDeliverAt = 1e12

// put writes all but the key and the headers to c.
func (o *PublishOptions) put(c *protocol.PublishCommand) error {
	switch {
	case o.TTL < 0 || o.TTL%time.Second != 0:
		return invalid("ttl", fmt.Sprintf("%v is not a number of whole seconds, from 1 s", o.TTL))
	case o.Delay < 0 || o.Delay%time.Millisecond != 0:
		return invalid("delay", fmt.Sprintf("%v is not a number of whole milliseconds, from 1 ms", o.Delay))
	case !o.DeliverAt.IsZero() && o.Delay != 0:
		return invalid("deliver_at", "at most one of DeliverAt and Delay may be set")
	case !o.DeliverAt.IsZero() && o.DeliverAt.UnixMilli() < leastDeliverAt:
		return invalid("deliver_at", fmt.Sprintf("%v is before %v", o.DeliverAt, time.UnixMilli(leastDeliverAt).UTC()))
	case o.ExpectedOffset != nil && (o.Delay != 0 || !o.DeliverAt.IsZero()):
		return invalid("expected_offset", "is not for a scheduled message; set neither DeliverAt nor Delay")
	}
	c.TTL, c.Delay = int64(o.TTL/time.Second), o.Delay.Milliseconds()
	if !o.DeliverAt.IsZero() {
		c.DeliverAt = o.DeliverAt.UnixMilli()
	}
	c.ExpectedOffset, c.Exclude, c.ConflationKey, c.Updates = o.ExpectedOffset, o.Exclude, o.ConflationKey, o.Updates
	return nil
}

// Published says that a message is stored.
type Published struct {
	Channel string
	// Offset, Position and Time are where and when it was stored; zero where it is
	// scheduled.
	Offset   uint64
	Position string
	Time     time.Time
	// Duplicate: it was stored before, under the same key.
	Duplicate bool
	// IdempotencyKey it was stored under.
	IdempotencyKey string
	// Schedule is the ID under which a scheduled message can be cancelled, DeliverAt when
	// it will be stored in the channel. Zero for one that is there already.
	Schedule  string
	DeliverAt time.Time
}

func published(e *protocol.PublishedEvent, key string) Published {
	p := Published{
		Channel: canonical(e.Channel), Offset: e.Offset, Position: e.Position,
		Duplicate: e.Duplicate, IdempotencyKey: key, Schedule: e.Schedule,
	}
	if e.Schedule != "" {
		p.DeliverAt = time.UnixMilli(e.DeliverAt)
	} else {
		p.Time = time.UnixMilli(e.Time)
	}
	return p
}
