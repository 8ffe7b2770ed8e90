package broker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/fanout"
)

// floor is a position up to which a group was handed everything, which proves, or
// disproves, that the log dropped nothing that the group had not had. The consumer
// itself would pass over a hole without a word. Owned by the group's run.
type floor struct {
	at      fanout.Position
	since   time.Time // nothing behind at was stored before it
	saved   fanout.Position
	checked time.Time
	written time.Time
	behind  bool // something waited at the last check
	full    bool // and it was as much as a channel keeps
	// eldest is a message that the log is about to drop; 0 is none.
	eldest uint64
}

// floorEvery is how often a group with a backlog is checked, floorSave how often its
// floor is written at most.
const (
	floorEvery = 5 * time.Second
	floorSave  = time.Minute
)

// judge decides whether the log still has all that a group that nobody of this node
// was a member of has not had.
func (g *group) judge(ctx context.Context, info *jetstream.ConsumerInfo) (ok bool, reason string, err error) {
	text := info.Config.Metadata[metaFloor]
	if text == "" { // made by hand: nothing is known
		return true, "", nil
	}
	x, err := fanout.ParsePosition(text)
	if err != nil {
		return false, "", fmt.Errorf("consumer %s: %s: %w", g.consumer, metaFloor, err)
	}
	if seq := info.Delivered.Stream; seq > x.Offset {
		m, found, err := g.b.at(ctx, g.stream, seq)
		if err != nil {
			return false, "", unavailable("judge", err)
		}
		if found {
			x = g.stream.position(seq, m.time)
		}
	}
	g.floor.at, g.floor.full = x, g.fills(info.NumPending)
	ok, reason, err = g.prove(ctx, x)
	if err == nil && !ok && reason == fanout.LostToRetention && !g.floor.full {
		if ok, err = g.floor.overtaken(ctx, g, info.Delivered.Stream); ok {
			reason = ""
		}
	}
	return ok, reason, err
}

// prove judges whether anything of the channel after x is gone.
func (g *group) prove(ctx context.Context, x fanout.Position) (ok bool, reason string, err error) {
	batch, err := g.b.Read(ctx, fanout.Query{Source: g.source(), After: x.Offset, Prove: x})
	if err != nil {
		return false, "", err
	}
	ok, reason = fanout.Complete(x, batch.Evidence)
	return ok, reason, nil
}

func (g *group) source() fanout.Source {
	return fanout.Source{Stream: g.stream.id(), Filter: g.key.channel}
}

// check looks whether a backlog has lost its oldest messages, or what comes again is gone,
// and brings the floor of a group without a backlog forward.
func (f *floor) check(ctx context.Context, g *group) {
	now := time.Now()
	if now.Sub(f.checked) < g.b.groups.every {
		return
	}
	f.checked = now
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	lost, reason, err := f.advance(ctx, g)
	if err != nil {
		return // at the next check
	}
	if g.tookLate() || g.gone(ctx, now) {
		lost, reason = true, fanout.LostToRetention
	}
	if lost {
		g.lost(f.at, reason)
	}
}

// advance brings the floor to what the group, on whichever node, was handed, and reports
// whether the log dropped something before.
func (f *floor) advance(ctx context.Context, g *group) (lost bool, reason string, err error) {
	before, now := *f, time.Now()
	defer func() {
		if err != nil { // what was not judged is at the next check
			before.behind, before.full = before.behind || f.behind, before.full || f.full
			*f = before
		}
	}()
	info, err := g.b.consumerInfo(ctx, g.stream.name, g.consumer)
	if err != nil {
		return false, "", err
	}
	if seq := info.Delivered.Stream; seq > f.at.Offset {
		if f.at, err = g.b.placeOf(ctx, g.stream, seq); err != nil {
			return false, "", err
		}
	}
	f.behind, f.full = info.NumPending > 0, g.fills(info.NumPending)
	tail, err := g.b.Tail(ctx, g.source())
	if err != nil {
		return false, "", err
	}
	if before.behind || f.behind {
		if lost, reason, err = g.passed(ctx, before, before.full || f.full); err != nil {
			return false, "", err
		}
	}
	if tail.Last.Offset <= f.at.Offset { // the group was handed all there is
		f.at, f.since = tail.Fresh(), now
		f.store(ctx, g)
		return lost, reason, nil
	}
	return f.backlog(ctx, g, tail.Retention, lost, reason)
}

// backlog judges what the group was not handed when it was looked at. lost, for reason, is
// what is known of what it was.
func (f *floor) backlog(ctx context.Context, g *group, retention time.Duration, lost bool, reason string) (bool, string, error) {
	batch, err := g.b.Read(ctx, fanout.Query{Source: g.source(), After: f.at.Offset, Limit: 1, Prove: f.at})
	if err != nil {
		return false, "", err
	}
	ok, why := fanout.Complete(f.at, batch.Evidence)
	unseen := !f.watch(batch.Messages, retention)
	if !ok && why == fanout.LostToRetention && !lost && !unseen && !f.full {
		if ok, err = f.overtaken(ctx, g, f.at.Offset); err != nil {
			return false, "", err
		}
	}
	switch {
	case !ok:
		reason = why
	case unseen:
		reason = fanout.LostToRetention
	case !lost:
		return false, "", nil
	}
	f.at, f.since = batch.Evidence.Begin, time.Time{}
	return true, reason, nil
}

// watch looks out for a message of the backlog that the log is about to drop for its age,
// and reports false if the one before went unseen.
func (f *floor) watch(backlog []*fanout.Message, retention time.Duration) bool {
	seen := f.eldest == 0 || f.at.Offset >= f.eldest
	f.eldest = 0
	if len(backlog) > 0 && retention > 0 && time.Since(time.Unix(0, backlog[0].Position.Time)) > retention-2*floorEvery {
		f.eldest = backlog[0].Offset()
	}
	return seen
}

// placeOf is the position at a sequence, which may not be stored any more: its time is then
// that of the next message, which can make a position be called gone, but hides nothing.
func (b *Broker) placeOf(ctx context.Context, s *stream, seq uint64) (fanout.Position, error) {
	m, found, err := b.get(ctx, s, getRequest{Seq: seq, Next: ">"})
	if err != nil {
		return fanout.Position{}, err
	}
	if !found {
		return s.position(seq, time.Now().UnixNano()), nil
	}
	return s.position(seq, m.time), nil
}

// tookLate reports, once, whether the group went on being full after gap was told.
func (g *group) tookLate() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	late := g.late
	g.late = false
	return late
}

// tellGap tells the members of what follow found.
func (g *group) tellGap() {
	g.mu.Lock()
	gap, at := g.gap, g.newest
	g.gap = false
	g.mu.Unlock()
	if gap {
		g.lost(at, fanout.LostToRetention)
	}
}

// save writes the floor when the last member has left.
func (f *floor) save(g *group) {
	if f.at.IsZero() || f.at == f.saved {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.b.ctx), groupTimeout)
	defer cancel()
	f.written = time.Time{}
	f.store(ctx, g)
}

func (f *floor) store(ctx context.Context, g *group) {
	now := time.Now()
	if now.Sub(f.written) < floorSave || f.at == f.saved {
		return
	}
	f.written = now
	info, err := g.b.consumerInfo(ctx, g.stream.name, g.consumer)
	if err == nil {
		_, err = g.b.js.UpdateConsumer(ctx, g.stream.name, withFloor(info.Config, f.at))
	}
	if err != nil {
		g.b.log.Debug("group floor", slog.String("group", g.consumer), slog.Any("err", err))
		return
	}
	f.saved = f.at
}

// lost tells the members that the log dropped messages which the group had not had.
func (g *group) lost(begin fanout.Position, reason string) {
	g.b.log.Warn("a group was too slow for the log, which dropped messages that nobody had",
		slog.String("channel", g.key.channel.String()), slog.String("group", g.key.name), slog.String("reason", reason))
	g.b.met.groups.lost.Inc()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		m.sink.Lost(begin, reason)
	}
}
