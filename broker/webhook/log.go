package webhook

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Record is an event to be stored.
type Record struct {
	ID string
	// Key chooses the partition: the channel, or what stands for one.
	Key  string
	Data []byte // the Event in JSON
}

// Item is one message that a Reader has got. Exactly one of Event and Message is set,
// or none: what is neither, such as the marker of a purge, only has to be acknowledged.
type Item struct {
	Event   []byte          // an Event in JSON
	Message *fanout.Message // of a channel
	Time    int64           // Unix nanoseconds at which it was stored
	// Missed is how many events before this one were discarded before anybody read them.
	Missed uint64
	// Pending is how many were stored after it when it was read.
	Pending uint64
	// Token is the log's, for Ack.
	Token string
}

// Reader is a durable place in a stream that one goroutine at a time reads from. After
// an error it must be closed and opened again, and then begins after what was
// acknowledged last.
type Reader interface {
	// Fetch returns the next items, at most so many, in order. If there are none it waits
	// some seconds for the first, and then returns none.
	Fetch(ctx context.Context, most int) ([]Item, error)
	// Ack says that the item and all before it are done.
	Ack(ctx context.Context, last Item) error
	// Pending is how many items were not fetched yet.
	Pending(ctx context.Context) (uint64, error)
}

// Log is where events are stored, and where the messages of channels lie. Its methods
// may be called concurrently.
type Log interface {
	// WriteEvents stores events in order, each unless one with its ID is stored already,
	// and returns which were new. After an error some may be stored; writing all of them
	// again is safe.
	WriteEvents(ctx context.Context, list []Record) (fresh []bool, err error)
	// ReadEvents opens the durable place of that name in a partition of the events; a new
	// one begins at the end.
	ReadEvents(ctx context.Context, partition int, name string) (Reader, error)
	// ReadMessages does likewise in a stream of channels. Messages that filter, if it is
	// not zero, does not match may be left out.
	ReadMessages(ctx context.Context, stream fanout.StreamID, filter fanout.Channel, name string) (Reader, error)
	// Locate returns the streams of a channel or pattern.
	Locate(ctx context.Context, c fanout.Channel) ([]fanout.StreamID, error)
}

// Leases share out work among the nodes.
type Leases interface {
	// Lead runs work for each of n tasks while this node has its lease, until ctx ends; no
	// other node does at the same time. The ctx of work ends when the lease is lost, and
	// work must then return at once. What note returns is shown to those who ask Notes.
	Lead(ctx context.Context, n int, work func(ctx context.Context, task int), note func(task int) []byte)
	// Notes returns what the nodes that have the leases note, within some seconds; nil for
	// a task that nobody has.
	Notes(ctx context.Context, n int) ([][]byte, error)
}

// Relay carries what a node knows of who is subscribed to the node that decides.
type Relay interface {
	// Report sends a report to the holder of the partition and returns its answer. The
	// error says that nobody answered; the report may have been taken all the same.
	Report(ctx context.Context, partition int, report []byte) (answer []byte, err error)
	// Serve answers the reports of a partition, until ctx ends.
	Serve(ctx context.Context, partition int, answer func(report []byte) []byte) error
}

// Ledger remembers what was told of who is subscribed.
type Ledger interface {
	// Recall returns what is remembered of a partition, in the order in which it was
	// recorded, and the revision of the last Told; 0 where there is none.
	Recall(ctx context.Context, partition int) (facts []Fact, told uint64, err error)
	// Record remembers facts and sets their Revision. After an error some may be recorded.
	// Who is gone is forgotten after FactTTL, and what there is to say of them at once.
	Record(ctx context.Context, partition int, facts []*Fact) error
	// Told remembers that the events of all facts up to a revision are written.
	Told(ctx context.Context, partition int, revision uint64) error
	// Used is how much of its room is used, 0 to 1. Over it the oldest facts are forgotten.
	Used(ctx context.Context) (float64, error)
}

// FactTTL is how long it is remembered that somebody is gone: until the holder, or the
// next one, has written the event.
const FactTTL = 5 * time.Minute

// Fact says whether a channel is occupied or, with a Member, whether that is in it.
type Fact struct {
	Channel string          `json:"channel"`
	Member  string          `json:"member,omitempty"` // a key, not a name
	Present bool            `json:"present"`
	Time    int64           `json:"time"` // Unix milliseconds since when
	Who     json.RawMessage `json:"who,omitempty"`
	// Revision is the ledger's number of the record; it grows.
	Revision uint64 `json:"-"`
}
