package webhook

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Acknowledged knows how far users are in their inboxes.
type Acknowledged interface {
	// Acknowledged returns what the durable sessions of the user have acknowledged in the
	// channel, and whether there is a session that is subscribed to it.
	Acknowledged(ctx context.Context, user string, c fanout.Channel) (acked []Span, exists bool, err error)
}

// Span is what a session has acknowledged of a channel: what is after an offset, at which
// its subscription began, up to a position.
type Span struct {
	After   uint64
	Through fanout.Position
}

func (s Span) has(m *fanout.Message) bool {
	return s.Through.Stream.SameStream(m.Position.Stream) && m.Offset() > s.After && m.Offset() <= s.Through.Offset
}

const (
	// undeliveredName is the place of the undelivered hook in the streams of inboxes.
	undeliveredName = "undelivered"
	// inboxBatch is how many messages are looked at together, and held until they are due.
	inboxBatch = 256
	// lookupsAtOnce is how many users are looked up at a time.
	lookupsAtOnce = 8
)

// inbox watches one stream of a namespace of inboxes: the messages wait there, in order,
// until they are as old as they may become unacknowledged. One goroutine runs it, and
// has no timer but for the oldest.
type inbox struct {
	e     *Engine
	id    fanout.StreamID
	after time.Duration

	opened atomic.Bool // its place in the log exists
}

// watchInboxes runs the inboxes of the task.
func (e *Engine) watchInboxes(ctx context.Context, wg *sync.WaitGroup, task int) {
	for ns, after := range e.cfg.Undelivered {
		all, err := fanout.ParsePattern(ns + ":>")
		if err != nil { // the configuration was checked
			continue
		}
		for _, id := range e.streams(ctx, task, []fanout.Channel{all}) {
			box := &inbox{e: e, id: id, after: after}
			e.lanes.watch(task, box)
			wg.Go(func() { box.run(ctx) })
		}
	}
}

func (b *inbox) run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		err := b.readOn(ctx, &failures)
		if ctx.Err() != nil {
			return
		}
		failures++
		b.e.log.Warn("inboxes cannot be watched, will try again", slog.String("stream", string(b.id)), slog.Any("err", err))
		_ = pause(ctx, backoff(failures, reopenLeast, reopenMost))
	}
}

func (b *inbox) readOn(ctx context.Context, failures *int) error {
	reader, err := b.e.svc.Log.ReadMessages(ctx, b.id, fanout.Channel{}, undeliveredName)
	if err != nil {
		return err
	}
	b.opened.Store(true)
	for ctx.Err() == nil {
		items, err := reader.Fetch(ctx, inboxBatch)
		if err != nil {
			return err
		}
		*failures = 0
		seen := time.Now().UnixNano()
		for i := range items { // the clock of whoever stored it may have been ahead
			items[i].Time = min(items[i].Time, seen)
		}
		for len(items) > 0 {
			due, err := b.wait(ctx, items)
			if err != nil {
				return err
			}
			if err := b.judge(ctx, items[:due]); err != nil {
				return err
			}
			if err := reader.Ack(ctx, items[due-1]); err != nil {
				return err
			}
			items = items[due:]
		}
	}
	return ctx.Err()
}

// wait returns when the first item is due, and how many are.
func (b *inbox) wait(ctx context.Context, items []Item) (due int, err error) {
	if err := pause(ctx, time.Until(time.Unix(0, items[0].Time).Add(b.after))); err != nil {
		return 0, err
	}
	before := time.Now().Add(-b.after).UnixNano()
	for due = 1; due < len(items) && items[due].Time <= before; due++ {
	}
	return due, nil
}

// judge writes an event for each message that nobody has acknowledged.
func (b *inbox) judge(ctx context.Context, items []Item) error {
	byChannel := map[fanout.Channel][]*fanout.Message{}
	for _, item := range items {
		if m := item.Message; m != nil && b.e.wanted(MessageUndelivered, m.Channel) {
			byChannel[m.Channel] = append(byChannel[m.Channel], m)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookupsAtOnce)
	for c, list := range byChannel {
		group.Go(func() error { return b.judgeUser(ctx, c, list) })
	}
	return group.Wait()
}

func (b *inbox) judgeUser(ctx context.Context, c fanout.Channel, list []*fanout.Message) error {
	user := c.Name()
	acked, exists, err := b.e.svc.Acknowledged.Acknowledged(ctx, user, c)
	if err != nil {
		return err
	}
	var events []*Event
	for _, m := range list {
		if slices.ContainsFunc(acked, func(s Span) bool { return s.has(m) }) {
			continue
		}
		event := &Event{
			ID: messageID(MessageUndelivered, m), Type: MessageUndelivered, Channel: c.String(), User: user,
			Message: messageOf(m), HasSession: &exists,
		}
		events = append(events, event.at(time.Now()))
	}
	if len(events) == 0 {
		return nil
	}
	return b.e.writeLean(ctx, c.String(), events)
}

// writeLean writes events, without the data of their messages where an event would be
// too large for the log.
func (e *Engine) writeLean(ctx context.Context, key string, events []*Event) error {
	for i, event := range events {
		if m := event.Message; m != nil && len(m.Data)+len(m.Bytes) > mostEventData {
			events[i] = event.lean()
		}
	}
	return e.write(ctx, key, events...)
}

// mostEventData is up to what size the data of a message is kept in an event.
const mostEventData = 256 << 10

// wanted reports whether a webhook asks for such events of the channel.
func (e *Engine) wanted(t Type, c fanout.Channel) bool {
	for _, h := range e.hooks {
		if h.wants(t) && h.covers(c) {
			return true
		}
	}
	return false
}
