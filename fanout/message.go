package fanout

import (
	"sync/atomic"
	"time"
)

// Kind tells what a stored message is.
type Kind uint8

// The kinds. Only KindData is counted by a reader as a message; the others are
// markers that make an act on the log visible to every cursor.
const (
	KindData    Kind = iota
	KindPurge        // the channel was emptied up to here
	KindDeleted      // the message at Target was deleted
)

// FrameSlots is how many encodings of one message are kept beside it: one per
// codec and compression.
const FrameSlots = 5

// Message is one stored message. It is immutable once dispatched or read, and
// shared by every subscriber; only its frames are filled in later.
type Message struct {
	Channel  Channel
	Stream   StreamID // the stream that holds it
	Position Position // its own: stream, offset and store time
	// Resume, unless zero, is an earlier position to resume from: for a pattern on a
	// feed that may lose a message without a trace, Position would claim too much.
	Resume Position
	// Prev is the offset of the message before it in its channel, 0 if none is
	// stored. Only the live feed knows it.
	Prev    uint64
	Kind    Kind
	Target  uint64 // KindDeleted: the offset of the deleted message
	Binary  bool   // Data is bytes, not JSON
	ID      string // the publisher's idempotency key, if it gave one
	User    string
	Client  string
	Headers map[string]string
	// ConflationKey is what a newer message of the same key outdates, "" without one.
	ConflationKey string
	// Updates is the offset of the message of which this is a new version, 0 for none.
	Updates uint64
	// Exclude is the ID of the connection that is not to get it, "" for none.
	Exclude string
	// Expires is when the message's own TTL ends, Unix nanoseconds; 0 is the
	// namespace's age, which the log alone sees to.
	Expires int64
	Data    []byte // compact JSON unless Binary

	frames [FrameSlots]atomic.Pointer[[]byte]
	// verdicts are the answers of filters, nil until one was asked.
	verdicts atomic.Pointer[verdicts]
	// further is the bytes of all frames but the first, and of verdicts.
	further atomic.Int64
}

// Offset is the message's sequence in its stream.
func (m *Message) Offset() uint64 { return m.Position.Offset }

// ResumeAt is the position from which a client that has this message resumes.
func (m *Message) ResumeAt() Position {
	if m.Resume.IsZero() {
		return m.Position
	}
	return m.Resume
}

// expired reports whether the message's own TTL is over. The log drops it at about
// that moment; what a node holds of it in memory is dropped by this.
func (m *Message) expired() bool { return m.Expires != 0 && time.Now().UnixNano() >= m.Expires }

// UnixMilli is the store time in milliseconds.
func (m *Message) UnixMilli() int64 { return m.Position.Time / int64(time.Millisecond) }

// Frame returns the message's encoding in slot, made by encode at the first
// call. Concurrent first calls may encode twice; all get equal bytes. The result
// is shared: callers must not change it.
func (m *Message) Frame(slot int, encode func(*Message) []byte) []byte {
	if f := m.frames[slot].Load(); f != nil {
		return *f
	}
	b := encode(m)
	if m.frames[slot].CompareAndSwap(nil, &b) && m.adds(slot, b) {
		m.further.Add(int64(cap(b)))
	}
	return b
}

// adds reports whether b, the frame in slot, takes memory that Size does not count:
// there is another frame, and b is not the same bytes.
func (m *Message) adds(slot int, b []byte) bool {
	first := true
	for i := range m.frames {
		if f := m.frames[i].Load(); i != slot && f != nil {
			if len(*f) > 0 && len(b) > 0 && &(*f)[0] == &b[0] {
				return false
			}
			first = false
		}
	}
	return !first
}

// messageOverhead is the struct, its headers' map and one frame header, rounded up.
const messageOverhead = 384

// Size is what the message counts against a byte budget: its text twice (as data
// and as one frame), the structure around it, and the frames so far beyond the first.
func (m *Message) Size() int {
	n := messageOverhead + 2*len(m.Data) + len(m.ID) + len(m.User) + len(m.Client) + len(m.Exclude) + 2*len(m.ConflationKey) +
		int(m.further.Load())
	for k, v := range m.Headers {
		n += 2 * (len(k) + len(v) + 16)
	}
	return n
}

// Publication is one message to be stored.
type Publication struct {
	Channel Channel
	Data    []byte // compact JSON unless Binary
	Binary  bool
	Headers map[string]string
	// Key makes a retry safe: a second publication with the same channel,
	// Publisher and Key within the namespace's window is not stored again.
	Key string
	// Publisher is the authenticated identity a Key belongs to.
	Publisher string
	User      string // of the client that published, where one did
	Client    string
	// PublishesPerSecond is how many the publisher's token or key allows; 0 leaves it to
	// the configuration. It is not stored.
	PublishesPerSecond int
	// Address is where a publisher comes from who has neither a name nor a connection, so
	// that those can be told apart by whoever counts. It is not stored.
	Address string

	// ConflationKey, Updates and Exclude are stored with the message.
	ConflationKey string
	Updates       uint64
	Exclude       string
	// TTL is after how long the message is gone, in whole seconds; 0 is the namespace's age.
	TTL time.Duration
	// DeliverAt, Unix nanoseconds, schedules the message; 0 stores it now.
	DeliverAt int64
	// Expected, unless nil, is the offset that the channel's last message must have, 0
	// for a channel without any.
	Expected *uint64
}

// Receipt says that a publication is stored.
type Receipt struct {
	Position  Position
	Duplicate bool // it was stored before, under the same key
	// Schedule is the ID under which a scheduled message waits, and DeliverAt until when,
	// Unix nanoseconds; Position is then zero.
	Schedule  string
	DeliverAt int64
}

// Scheduled is one message that waits to be stored in its channel.
type Scheduled struct {
	ID string
	// Publication is what will be stored; its Publisher is not known.
	Publication *Publication
	Created     int64 // when it was scheduled, Unix nanoseconds
	// Cursor is the ScheduleQuery.After of what was scheduled later.
	Cursor uint64
}

// ScheduleQuery asks for scheduled messages in the order in which they were scheduled.
type ScheduleQuery struct {
	Channel Channel // those of one channel; zero: of all
	Prefix  string  // of the channel, "namespace:name"; not together with Channel
	After   uint64  // the Cursor of the last of the page before
	Limit   int     // 1 to MaxLast
}

// SchedulePage is one page. Next is the After of the next one, 0 on the last; a page
// may have few or none and yet a Next.
type SchedulePage struct {
	List []Scheduled
	Next uint64
}
