package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

const (
	// requestBytes is about how large the body of a request gets; one event is sent in
	// any case.
	requestBytes = 1 << 20
	// reopenLeast and reopenMost are the pauses after the log failed.
	reopenLeast = 250 * time.Millisecond
	reopenMost  = 10 * time.Second
	// sayAfter is how often it fails before the node's log has a warning.
	sayAfter = 3
)

// lane reads one stream for one webhook, in order, and sends what it finds there. One
// goroutine runs it.
type lane struct {
	e    *Engine
	hook *hook
	open func(ctx context.Context) (Reader, error)
	// take makes an event of an item; ok is false for what the webhook does not want.
	take func(Item) (ready, bool)

	state laneState

	// Owned by run.
	reader  Reader
	most    int // events of the next request: fewer after one was refused
	refused int // how often the first event was refused alone
}

// ready is an event that is to be sent.
type ready struct {
	item Item
	id   string
	data []byte // the event in JSON
	time int64  // Unix milliseconds
}

// run reads and sends until ctx ends, or the engine stops: then it finishes the request
// that is under way.
func (l *lane) run(ctx context.Context) {
	l.most = l.hook.Batch
	calm, cancel := context.WithCancel(ctx) // ends with either
	defer cancel()
	defer context.AfterFunc(l.e.quit, cancel)() //nolint:contextcheck // the engine's own
	for failures := 0; calm.Err() == nil; {
		err := l.readOn(ctx, calm, &failures)
		if calm.Err() != nil || errors.Is(err, errDisabled) {
			break
		}
		failures++
		l.state.logFailed()
		level := slog.LevelDebug
		if failures == sayAfter { // once, not at every try of every lane
			level = slog.LevelWarn
		}
		l.e.log.Log(ctx, level, "webhook cannot read its events, will try again", slog.String("webhook", l.hook.Name), slog.Any("err", err))
		_ = pause(calm, backoff(failures, reopenLeast, reopenMost))
	}
	<-calm.Done() // a disabled one as well keeps what it has
}

var errDisabled = errors.New("webhook: disabled by its receiver")

// readOn opens the lane's place and goes on from there until something fails.
func (l *lane) readOn(ctx, calm context.Context, failures *int) (err error) {
	if l.reader, err = l.open(ctx); err != nil {
		return err
	}
	l.refused = 0 // it may begin with another event
	if err := l.look(ctx); err != nil {
		return err
	}
	for calm.Err() == nil {
		if l.hook.disabled.Load() {
			return errDisabled
		}
		items, err := l.reader.Fetch(calm, l.hook.Batch)
		if err != nil {
			return err
		}
		*failures = 0
		l.state.logBack()
		if len(items) == 0 {
			l.state.waits(0)
			continue
		}
		if err := l.deliver(ctx, calm, items); err != nil {
			return err
		}
	}
	return calm.Err()
}

// look takes note of how much waits.
func (l *lane) look(ctx context.Context) error {
	n, err := l.reader.Pending(ctx)
	if err == nil {
		l.state.waits(n)
	}
	return err
}

// deliver sends what the webhook wants of the items, and acknowledges as it goes.
func (l *lane) deliver(ctx, calm context.Context, items []Item) error {
	var list []ready
	last := items[len(items)-1]
	for _, item := range items {
		if item.Missed > 0 {
			l.e.met.discarded.WithLabelValues(l.hook.Name).Add(float64(item.Missed))
			l.e.log.Warn("events were discarded before the webhook had them; raise events.max_bytes or events.max_age",
				slog.String("webhook", l.hook.Name), slog.Uint64("events", item.Missed))
		}
		if r, ok := l.take(item); ok {
			list = append(list, r)
		}
	}
	for attempt := 1; len(list) > 0 && calm.Err() == nil; attempt++ {
		l.state.waits(uint64(len(list)) + last.Pending)
		n, err := l.attempt(ctx, calm, list, attempt)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		done := list[n-1].item
		if list, attempt = list[n:], 0; len(list) == 0 {
			break // the last item is acknowledged below, with what nobody wanted
		}
		if err := l.reader.Ack(ctx, done); err != nil {
			return err
		}
	}
	if len(list) > 0 {
		return calm.Err()
	}
	l.state.waits(last.Pending)
	return l.reader.Ack(ctx, last)
}

// attempt sends the first events of the list, and waits where that fails. It returns how
// many are done with: taken, or given up.
func (l *lane) attempt(ctx, calm context.Context, list []ready, attempt int) (done int, err error) {
	part := l.cut(list)
	out, err := l.hook.send(ctx, part, attempt)
	if err != nil {
		return 0, err
	}
	if out.err == nil {
		l.refused = 0
		l.state.sent()
		l.hook.delivered.Add(float64(len(part)))
		l.most = min(2*l.most, l.hook.Batch)
		return len(part), nil
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if out.gone() {
		l.hook.disable(l.e.log)
		return 0, errDisabled
	}
	if out.refused() && len(part) > 1 {
		l.most = len(part) / 2 // one of them is what the receiver does not like
		l.state.failed(out.err, time.Time{})
		return 0, nil
	}
	l.hook.retried.Inc()
	if dead := l.hopeless(part, out, attempt); dead > 0 {
		l.refused = 0
		return l.bury(ctx, part[:dead], out, attempt)
	}
	wait := max(out.after, backoff(attempt, l.e.cfg.RetryLeast, l.e.cfg.RetryMost))
	l.state.failed(out.err, time.Now().Add(wait))
	if err := pause(calm, wait); err != nil {
		return 0, err
	}
	return 0, nil
}

// cut is as much of the list as fits into a request.
func (l *lane) cut(list []ready) []ready {
	size, n := 0, 0
	for n < len(list) && n < l.most {
		if size += len(list[n].data); n > 0 && size > requestBytes {
			break
		}
		n++
	}
	return list[:n]
}

// hopeless is how many of the first events are given up: those that are too old, and one
// alone that was refused often enough, which the others of its partition wait for.
func (l *lane) hopeless(list []ready, out outcome, attempt int) int {
	if out.refused() && len(list) == 1 {
		if l.refused++; l.refused >= LeastAttempts {
			return 1
		}
	}
	if attempt < LeastAttempts {
		return 0
	}
	n, before := 0, time.Now().Add(-l.hook.MaxAge).UnixMilli()
	for n < len(list) && list[n].time < before {
		n++
	}
	return n
}

// bury puts events into the channel of dead letters. It does not return before they are
// stored there.
func (l *lane) bury(ctx context.Context, list []ready, why outcome, attempts int) (int, error) {
	to := l.hook.DeadLetters
	if to.IsZero() {
		l.e.met.dropped.WithLabelValues(l.hook.Name).Add(float64(len(list)))
		l.e.log.Warn("events are given up", slog.String("webhook", l.hook.Name), slog.Int("events", len(list)), slog.Any("err", why.err))
		return len(list), nil
	}
	l.e.log.Warn("events become dead letters", slog.String("webhook", l.hook.Name), slog.Int("events", len(list)), slog.Any("err", why.err))
	headers := map[string]string{
		"webhook": l.hook.Name, "error": why.err.Error(), "attempts": strconv.Itoa(attempts), "status": strconv.Itoa(why.status),
	}
	for _, r := range list {
		p := &fanout.Publication{Channel: to, Data: r.data, Headers: headers, Key: r.id, Publisher: "webhook " + l.hook.Name}
		for failures := 1; ; failures++ {
			err := l.e.publish(ctx, p)
			if err == nil {
				l.hook.dead.Inc()
				break
			}
			if buriedNever(err) {
				l.e.met.dropped.WithLabelValues(l.hook.Name).Inc()
				l.e.log.Error("an event is lost: its channel of dead letters will never take it",
					slog.String("webhook", l.hook.Name), slog.String("event", r.id), slog.Any("err", err))
				break
			}
			l.state.failed(err, time.Now())
			l.e.log.Error("dead letter cannot be stored, will try again", slog.String("webhook", l.hook.Name), slog.Any("err", err))
			if err := pause(ctx, backoff(failures, reopenLeast, reopenMost)); err != nil {
				return 0, err
			}
		}
	}
	return len(list), nil
}

// buriedNever reports whether a dead letter that was refused with err is refused whenever
// it is tried: nothing else shall wait for it.
func buriedNever(err error) bool {
	_, bad := errors.AsType[*fanout.InputError](err)
	return bad || errors.Is(err, fanout.ErrTooLarge)
}

// publish stores a dead letter, without the data of its message where that is too large
// for the channel. One that was stored before, under the same key, is as good.
func (e *Engine) publish(ctx context.Context, p *fanout.Publication) error {
	_, err := e.svc.Publisher.Publish(ctx, p)
	if errors.Is(err, fanout.ErrKeyConflict) {
		return nil
	}
	if !errors.Is(err, fanout.ErrTooLarge) {
		return err
	}
	var event Event
	if err := json.Unmarshal(p.Data, &event); err != nil {
		return err
	}
	small := *p
	if small.Data, err = encode(event.lean()); err != nil {
		return err
	}
	_, err = e.svc.Publisher.Publish(ctx, &small)
	return err
}

// send waits for its turn and makes one request.
func (h *hook) send(ctx context.Context, part []ready, attempt int) (outcome, error) {
	select {
	case h.turns <- struct{}{}:
		defer func() { <-h.turns }()
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	}
	if h.disabled.Load() {
		return outcome{status: http.StatusGone, err: errDisabled}, nil
	}
	events := make([][]byte, len(part))
	for i, r := range part {
		events[i] = r.data
	}
	start := time.Now()
	out := h.sender.send(ctx, events, attempt)
	h.seconds.Observe(time.Since(start).Seconds())
	return out, nil
}

// backoff doubles from least to most with the failures; half of it is random, so that
// what failed together does not come back together.
func backoff(failures int, least, most time.Duration) time.Duration {
	d := min(least<<min(max(failures-1, 0), 20), most)
	if d <= 0 { // overflown
		d = most
	}
	return d/2 + rand.N(d/2+1)
}

// pause waits, and returns ctx's error if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
