package broker

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// timerLook is how often the timer looks for what was scheduled although nobody
	// told it, and says to the other nodes that it is at work.
	timerLook = 2 * time.Second
	// timerBatch is how many messages that are due are stored at a time.
	timerBatch = 128
	// timerRetry is the pause before a message is tried again that could not be stored.
	timerRetry = time.Second
	// timerWork bounds the time of one batch.
	timerWork = 20 * time.Second
)

// timer stores scheduled messages in their channels when they are due. One node of all
// does; which matters for the effort, not for the outcome.
type timer struct {
	b    *Broker
	wake chan struct{} // size 1: something was scheduled
	told *nats.Subscription

	// Owned by run.
	duty   *migrations.Duty // nil with the embedded server, which has one node
	until  time.Time        // when the duty may end
	looked time.Time
	next   uint64 // everything scheduled up to this sequence is in due
	due    dueHeap
}

// dueEntry is one message that waits: 16 bytes for each, so that all that the log may
// hold of them is small.
type dueEntry struct {
	at  int64 // Unix nanoseconds; later than asked for where it is tried again
	seq uint64
}

// dueHeap has the earliest first, of those due together the one scheduled first.
type dueHeap []dueEntry

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].at, h[j].at), cmp.Compare(h[i].seq, h[j].seq)) < 0
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push and Pop are for package heap.
func (h *dueHeap) Push(v any) { *h = append(*h, v.(dueEntry)) }

// Pop takes the last.
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

func newTimer(b *Broker) *timer { return &timer{b: b, wake: make(chan struct{}, 1)} }

// open subscribes to what tells of newly scheduled messages.
func (t *timer) open(ctx context.Context) (err error) {
	if t.b.srv == nil {
		if t.duty, err = migrations.OpenDuty(ctx, t.b.js, "schedules", t.b.cfg.Node); err != nil {
			return err
		}
	}
	t.told, err = t.b.ctl.nc.Subscribe(migrations.ScheduleWildcard, func(*nats.Msg) { t.poke() })
	if err != nil {
		return fmt.Errorf("broker: subscribe to schedules: %w", err)
	}
	return nil
}

func (t *timer) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *timer) run(ctx context.Context) {
	clock := time.NewTimer(0)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			t.leave(context.WithoutCancel(ctx))
			return
		case <-t.wake:
		case <-clock.C:
		}
		if t.mine(ctx) {
			t.load(ctx)
			t.fire(ctx)
		}
		clock.Reset(t.pause())
	}
}

// pause is how long there is nothing to do.
func (t *timer) pause() time.Duration {
	wait := timerLook
	if len(t.due) > 0 {
		wait = min(wait, time.Until(time.Unix(0, t.due[0].at)))
	}
	return max(wait, 0)
}

// mine reports whether it is this node that does it.
func (t *timer) mine(ctx context.Context) bool {
	if t.duty == nil {
		return true
	}
	now := time.Now()
	if now.Sub(t.looked) < timerLook/2 {
		return now.Before(t.until)
	}
	t.looked = now
	ctx, cancel := context.WithTimeout(ctx, timerLook)
	defer cancel()
	had := now.Before(t.until)
	ok, err := t.duty.Try(ctx)
	switch {
	case err != nil:
		t.b.log.Debug("who stores what is due is not known", slog.Any("err", err))
	case ok:
		t.until = now.Add(migrations.DutyTTL)
	default:
		t.until = time.Time{}
	}
	if mine := time.Now().Before(t.until); !had || !mine {
		t.next, t.due = 0, nil // what was known may be long gone
		return mine
	}
	return true
}

func (t *timer) leave(ctx context.Context) {
	if t.duty == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timerLook/2)
	defer cancel()
	_ = t.duty.Leave(ctx) // it ends by itself
}

// load takes in what was scheduled since it last did.
func (t *timer) load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, timerWork)
	defer cancel()
	for {
		part, err := t.b.readSchedules(ctx, migrations.ScheduleFilter("", "", nil), t.next)
		if err != nil {
			t.b.log.Debug("schedules cannot be read", slog.Any("err", err))
			return
		}
		for _, m := range part.list {
			t.next = m.seq
			at := int64(parseUint(m.header, hdrDeliverAt))
			if at == 0 {
				t.b.met.foreign.Inc()
				continue
			}
			heap.Push(&t.due, dueEntry{at: at, seq: m.seq})
		}
		if part.pending == 0 || len(part.list) == 0 {
			t.b.met.scheduled.Set(float64(len(t.due)))
			return
		}
	}
}

// fire stores what is due.
func (t *timer) fire(ctx context.Context) {
	for ctx.Err() == nil {
		now := time.Now().UnixNano()
		var batch []dueEntry
		for len(t.due) > 0 && t.due[0].at <= now && len(batch) < timerBatch {
			batch = append(batch, heap.Pop(&t.due).(dueEntry)) //nolint:forcetypeassert // dueHeap has nothing else
		}
		if len(batch) == 0 {
			return
		}
		work, cancel := context.WithTimeout(ctx, timerWork)
		for _, e := range t.b.storeDue(work, batch) {
			e.at = max(e.at, time.Now().Add(timerRetry).UnixNano())
			heap.Push(&t.due, e)
		}
		cancel()
		t.b.met.scheduled.Set(float64(len(t.due)))
	}
}
