//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// grace is how long messages that were due in time may still be sent.
	grace = time.Second
	// drainPatience is how long a worker waits for messages that do not come.
	drainPatience = 5 * time.Second
	// lookEvery is how often it is counted what is missing.
	lookEvery = 100 * time.Millisecond
	// answerPatience is how long the last publishes may be without an answer.
	answerPatience = 10 * time.Second
	// storePatience is how long nothing may be stored before a replay.
	storePatience = 30 * time.Second
)

var (
	errNotReady  = errors.New("bench: not ready")
	errNotBegun  = errors.New("bench: not begun, as those before were not ready")
	errNoAnswer  = errors.New("bench: no answer")
	errNotStored = errors.New("bench: nothing is stored")
)

// load publishes while the subscribers listen.
func (w *worker) load(ctx context.Context, r *report) error {
	if err := w.makeLanes(); err != nil {
		return err
	}
	w.began = used()
	start := w.began.at
	end := start.Add(w.spec.Options.Duration)
	w.measured.Publishing.From, w.measured.Receiving.From = start.UnixNano(), start.UnixNano()
	if w.spec.Options.Rate == 0 {
		for _, l := range w.lanes {
			l.more = func() (time.Time, bool) { now := time.Now(); return now, now.Before(end) }
			l.next()
		}
	} else if err := w.pace(start, end); err != nil {
		return err
	}
	received := w.watch()
	var closed time.Time // when nothing more was begun
	err := w.until(ctx, func() bool {
		received()
		now := time.Now()
		switch {
		case !closed.IsZero():
			return !w.publishing() || now.Sub(closed) > answerPatience
		case w.stop || now.After(end.Add(grace)):
			closed = now
			for _, l := range w.lanes {
				l.more = nil
			}
		case now.Before(end):
			return false
		}
		return !w.publishing()
	})
	w.giveUp()
	for _, l := range w.lanes {
		w.measured.Unsent += l.owed
	}
	w.report(r)
	return err
}

// giveUp ends the lanes and counts the publishes that are still without an answer. One
// that was refused is not sent again: it was counted then.
func (w *worker) giveUp() {
	for _, l := range w.lanes {
		if l.pub.Busy() {
			w.measured.Publishes++
			w.fault("publish", errNoAnswer)
		}
		l.more, l.retry, l.over = nil, nil, true
	}
}

// watch returns a function that notes when messages came last.
func (w *worker) watch() func() {
	before := w.tally.Received
	return func() {
		if w.tally.Received != before {
			before = w.tally.Received
			w.measured.Receiving.To = time.Now().UnixNano()
		}
	}
}

// publishing reports whether a lane has something to do.
func (w *worker) publishing() bool {
	for _, l := range w.lanes {
		if l.pub.Busy() || l.more != nil && l.owed > 0 && !l.dead() {
			return true
		}
	}
	return false
}

// dead reports whether a lane has no channel left.
func (l *lane) dead() bool {
	for _, t := range l.topics {
		if !t.dead {
			return false
		}
	}
	return true
}

// report says what was published last on each channel.
func (w *worker) report(r *report) {
	r.Finals = make([]uint64, w.spec.Options.Channels)
	for i, t := range w.topics {
		r.Finals[i] = t.n
	}
}

// pace has every lane's messages become due in turn, at a steady rate over all
// lanes of all workers.
func (w *worker) pace(start, end time.Time) error {
	if len(w.lanes) == 0 {
		return nil
	}
	o := w.spec.Options
	due := func(l *lane, round int) time.Time {
		turns := float64(round*o.Publishers+l.number) / o.Rate
		return start.Add(time.Duration(turns * float64(time.Second)))
	}
	for _, l := range w.lanes {
		l.more = func() (time.Time, bool) {
			if l.owed == 0 {
				return time.Time{}, false
			}
			l.owed--
			l.taken++
			return due(l, l.taken-1), true
		}
	}
	i := 0
	var tick func()
	tick = func() {
		for now := time.Now(); !w.stop; i++ {
			l := w.lanes[i%len(w.lanes)]
			at := due(l, i/len(w.lanes))
			if !at.Before(end) {
				return
			}
			if at.After(now) {
				_ = w.loop.At(at, tick) // fails only for a time before 1970
				return
			}
			l.owed++
			l.next()
		}
	}
	return w.loop.At(start, tick)
}

// publishMissed publishes what the clients of a replay have missed, and a message
// before it whose position they come back with.
func (w *worker) publishMissed(ctx context.Context, r *report) error {
	if err := w.makeLanes(); err != nil {
		return err
	}
	w.measured.Publishing.From = time.Now().UnixNano()
	for _, l := range w.lanes {
		l.limit = uint64(w.spec.Options.Missed) + 1
		l.more = func() (time.Time, bool) { return time.Now(), true }
		l.next()
	}
	stored, last := 0, time.Now()
	var stuck error
	err := w.until(ctx, func() bool {
		if w.measured.Stored != stored {
			stored, last = w.measured.Stored, time.Now()
		}
		if time.Since(last) > storePatience {
			stuck = fmt.Errorf("%w: %d messages are, and no more for %v", errNotStored, stored, storePatience)
		}
		busy := false
		for _, l := range w.lanes {
			busy = busy || l.pub.Busy() || !w.stop && l.pick() != nil
		}
		return stuck != nil || !busy
	})
	for _, l := range w.lanes {
		l.more = nil
	}
	w.report(r)
	r.Positions = make([]string, w.spec.Options.Channels)
	for i, t := range w.topics {
		r.Positions[i] = t.position
	}
	return errors.Join(err, stuck)
}

// drain waits until every subscriber has everything, or nothing comes any more.
func (w *worker) drain(ctx context.Context, o order) error {
	w.finals = o.Finals
	received := w.watch()
	before, last, looked := w.tally.Received, time.Now(), time.Time{}
	err := w.until(ctx, func() bool {
		received()
		now := time.Now()
		if w.tally.Received != before {
			before, last = w.tally.Received, now
		}
		if now.Sub(last) > drainPatience {
			return true
		}
		if now.Sub(looked) < lookEvery {
			return false
		}
		looked = now
		return w.clients.missing(w.finals) == 0
	})
	w.spent()
	return err
}

// missing is how many messages the end of the subscriptions lacks.
func (c *clients) missing(finals []uint64) int {
	if finals == nil {
		return 0
	}
	n := 0
	for i, s := range c.list {
		if final := finals[c.channel(i)]; c.state[i] == subscribed && s.N < final {
			n += int(final - s.N)
		}
	}
	return n
}
