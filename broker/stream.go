package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// readsPerStream bounds the batch reads of one stream: each holds up publishing
// to it while it looks for the channel's messages between those of others.
const readsPerStream = 2

// stream is one partition of a namespace.
type stream struct {
	// Static after construction.
	name      string
	layout    migrations.Layout
	partition int
	head      string // of its republished subjects
	recent    *recent
	reads     *semaphore.Weighted
	batch     *batcher // nil unless every write is synced

	facts atomic.Pointer[facts] // never nil once registered
	// silent counts the publishes since the last acknowledgement that got none in
	// time: a store that failed on its disk does not answer any more.
	silent atomic.Int32
}

// facts are what the node last learned of a stream. Immutable.
type facts struct {
	created    time.Time
	epoch      migrations.Epoch
	tag        fanout.StreamTag
	retention  time.Duration // 0 is unlimited
	replicated bool          // reads may come from a follower that is behind
	singly     bool          // messages may leave one by one
}

// namespace is one that this node serves. Immutable.
type namespace struct {
	name    string
	spec    NamespaceSpec
	layout  migrations.Layout
	streams []*stream
}

func (s *stream) id() fanout.StreamID { return fanout.StreamID(s.name) }

func (s *stream) tag() fanout.StreamTag { return s.facts.Load().tag }

// position is the position of one of the stream's messages.
func (s *stream) position(offset uint64, time int64) fanout.Position {
	return fanout.Position{Stream: s.tag(), Offset: offset, Time: time}
}

// filter is the stored subject, or the wildcard over stored subjects, of a
// channel or pattern in this stream.
func (s *stream) filter(c fanout.Channel) string {
	return s.layout.Filter(s.partition, c.Segments())
}

func (s *stream) liveFilter(c fanout.Channel) string {
	return s.layout.LiveFilter(s.partition, c.Segments())
}

// learn records what the stream's leader reports and reports whether the tag
// changed.
func (s *stream) learn(info *streamInfo, epoch migrations.Epoch) (changed bool) {
	f := &facts{
		created:    info.Created,
		epoch:      epoch,
		tag:        s.layout.Tag(s.partition, info.Created, epoch.ID),
		retention:  info.retention(),
		replicated: info.Config.Replicas > 1,
		singly:     migrations.LeftSingly(info.Config.Metadata),
	}
	before := s.facts.Swap(f)
	changed = before != nil && before.tag != f.tag
	if changed {
		s.recent.clear() // its sequences may be used again
	}
	return changed
}

// refresh asks the leader for the stream's facts.
func (b *Broker) refresh(ctx context.Context, s *stream) (*streamInfo, error) {
	epoch, err := b.epochs.Now(ctx, s.name)
	if err != nil {
		return nil, unavailable("refresh "+s.name, err)
	}
	info, err := b.info(ctx, s, "")
	if err != nil {
		return nil, err
	}
	if s.learn(info, epoch) {
		b.feed.suspect(s.id(), causeStream) // the stream's other sources prove themselves too
	}
	return info, nil
}

// letLeave sees to it that messages may leave the stream one by one: from then on the
// count of a channel proves less. It asks the log once per stream and node.
func (b *Broker) letLeave(ctx context.Context, s *stream) error {
	if s.facts.Load().singly {
		return nil
	}
	if err := migrations.MarkSingly(ctx, b.js, s.layout, s.partition, b.cfg.Node); err != nil {
		return unavailable("let messages leave "+s.name, err)
	}
	_, err := b.refresh(ctx, s)
	return err
}

// Raise implements fanout.Epochs. The stream gets a new epoch unless its tag is
// no longer the one seen, which is also so where it was created again.
func (b *Broker) Raise(ctx context.Context, id fanout.StreamID, seen fanout.StreamTag) error {
	s, err := b.stream(id)
	if err != nil {
		return err
	}
	if _, err := b.refresh(ctx, s); err != nil {
		return fmt.Errorf("raise epoch: %w", err)
	}
	now := s.facts.Load()
	if now.tag != seen {
		return nil
	}
	if _, err := b.epochs.Raise(ctx, s.name, now.epoch); err != nil {
		return unavailable("raise epoch", err)
	}
	b.met.raised.Inc()
	b.log.Warn("epoch raised: the log changed under its readers", slog.String("stream", s.name))
	_, err = b.refresh(ctx, s)
	return err
}
