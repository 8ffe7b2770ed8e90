package fanout

import (
	"context"
	"time"
)

// StreamID names one stream of the log, as the broker calls it. Streams are
// comparable; what the name says is the broker's business.
type StreamID string

// Source is what a cursor reads: the messages of one stream that belong to a
// channel, or that a pattern matches. A channel has one source, a pattern one
// per stream of its namespace.
type Source struct {
	Stream StreamID
	Filter Channel
}

// Log is the durable log. Every method may block on the network, honours ctx and
// may be called concurrently. Errors wrap ErrUnknownNamespace, ErrUnavailable or
// ctx's error. The broker implements it; tests have one in memory.
type Log interface {
	// Locate returns the streams on which the channel's or pattern's messages lie.
	// An open node creates the namespace at its first use.
	Locate(ctx context.Context, c Channel) ([]StreamID, error)
	// Read returns messages in order, then evidence about q.Prove gathered after
	// the read.
	Read(ctx context.Context, q Query) (Batch, error)
	// Tail reads the end of the stream first, then the last message of the source,
	// from the leader.
	Tail(ctx context.Context, s Source) (Tail, error)
	// Seek returns the offset after which a read starts with what s asks for.
	Seek(ctx context.Context, src Source, s Seek) (after uint64, err error)
}

// Query asks for the messages of a source.
type Query struct {
	Source Source
	After  uint64 // offsets above it
	Limit  int    // at most so many messages; the log may return fewer
	// Prove, unless zero, asks for evidence whether anything after it is missing.
	Prove Position
}

// Batch is what a read returned.
type Batch struct {
	Messages []*Message
	// More says that the log held further messages of the source when it was read.
	More bool
	// Evidence about Query.Prove; its Tag is always set.
	Evidence Evidence
}

// Tail is where a source ends.
type Tail struct {
	// End is the last sequence of the stream and its time, of whatever channel; the
	// stream's creation time where nothing was ever stored. Read first.
	End Position
	// Last is the last message of the source; zero if there is none. Read second,
	// so it may lie after End.
	Last Position
	// Retention is how long the stream keeps a message: its maximum age, or less
	// where its byte limit evicts sooner at the present rate. 0 is unlimited.
	Retention time.Duration
}

// Fresh is the latest position that is true of the source: whoever has seen
// everything up to Last has seen everything up to Fresh.
func (t Tail) Fresh() Position {
	if t.Last.Offset > t.End.Offset {
		return t.Last
	}
	return t.End
}

// Seek says where a read shall start. Exactly one of Last and Since is set.
type Seek struct {
	// Last: with the newest Last messages, those below Before if that is not 0.
	Last   int
	Before uint64
	// Since: with the first message stored at or after it, Unix nanoseconds.
	Since int64
}

// Feed is the live feed. Watch returns when messages stored from now on will be
// dispatched to the hub; watching twice is an error of the caller.
type Feed interface {
	Watch(ctx context.Context, s Source) error
	Unwatch(s Source)
	// Exact says that a loss in the feed is always announced by Hub.Suspect before
	// the next message is dispatched, as it is where one NATS server serves this
	// node; in a cluster a message can be lost on its way without a trace.
	Exact() bool
	// Tails returns the last message of each source, zero where there is none.
	Tails(ctx context.Context, sources []Source) ([]Position, error)
}

// Epochs records that a log changed under its readers.
type Epochs interface {
	// Raise gives the stream a new epoch unless it is no longer seen.
	Raise(ctx context.Context, id StreamID, seen StreamTag) error
}
