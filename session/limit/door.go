package limit

import (
	"container/list"
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

const (
	// newcomerTurn: one of so many admissions from the queue is of a handshake that begins,
	// so that those which say that they resume cannot keep all others out.
	newcomerTurn = 8
	// callerShare: one caller has at most one of so many places in the queue.
	callerShare = 16
	// leastRetry and mostRetry bound when a refused handshake is told to come back.
	leastRetry = time.Second
	mostRetry  = time.Minute
)

// door lets handshakes in at a rate. Those past it wait, those that resume first, and
// those of different callers in turn.
type door struct {
	// Static after newDoor.
	clock Clock
	rate  Rate
	most  int
	wait  time.Duration

	mu       sync.Mutex // guards the following
	bucket   bucket
	resuming lanes
	new      lanes
	turns    int
	timer    *time.Timer // runs while somebody waits
	horizon  int64       // when the last of the refused is to come back
}

// waiter is one handshake that waits. What it was told is in admitted before ready is
// closed.
type waiter struct {
	ready    chan struct{}
	admitted bool
	place    *list.Element
	in       *lane // nil once it is told
}

// newDoor returns a door with a queue of at most so many handshakes, of which each waits
// at most so long.
func newDoor(clock Clock, r Rate, most int, wait time.Duration) *door {
	return &door{clock: clock, rate: r, most: most, wait: wait}
}

// enter returns 0 when the handshake is let in, or when it is to come back. With an
// error its ctx has ended. A zero caller is not told from others like it, and has no
// share of the queue. Of one caller one handshake that resumes goes before those that
// begin; anybody may say that it does.
func (d *door) enter(ctx context.Context, caller netip.Prefix, resumes bool) (retry time.Duration, reason Reason, err error) {
	if d.rate.IsZero() {
		return 0, "", nil
	}
	d.mu.Lock()
	if d.waitingLocked() == 0 && d.bucket.take(d.clock.now(), d.rate, 1) == 0 {
		d.mu.Unlock()
		return 0, "", nil
	}
	resumes = resumes && (!caller.IsValid() || d.resuming.of(caller) == 0)
	if d.hasShareLocked(caller) || d.waitingLocked() >= d.most && !d.displaceLocked(resumes) {
		defer d.mu.Unlock()
		return d.retryLocked(), ReasonQueueFull, nil
	}
	w := d.joinLocked(caller, resumes)
	d.mu.Unlock()

	timeout := time.NewTimer(d.wait)
	defer timeout.Stop()
	select {
	case <-w.ready:
	case <-timeout.C:
		reason = ReasonQueueWait
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.in != nil {
		d.removeLocked(w)
	}
	switch {
	case err != nil || w.admitted:
		return 0, "", err
	case reason == "": // it was displaced
		reason = ReasonQueueFull
	}
	return d.retryLocked(), reason, nil
}

func (d *door) waitingLocked() int { return d.resuming.n + d.new.n }

// hasShareLocked reports whether as many of the caller wait as may.
func (d *door) hasShareLocked(caller netip.Prefix) bool {
	return caller.IsValid() && d.resuming.of(caller)+d.new.of(caller) >= max(1, d.most/callerShare)
}

// displaceLocked makes room for a handshake that resumes: the newest that begins is
// refused.
func (d *door) displaceLocked(resumes bool) bool {
	if !resumes || d.new.n == 0 {
		return false
	}
	d.new.last().tell(false)
	return true
}

func (d *door) joinLocked(caller netip.Prefix, resumes bool) *waiter {
	w := &waiter{ready: make(chan struct{})}
	if resumes {
		d.resuming.push(caller, w)
	} else {
		d.new.push(caller, w)
	}
	if d.waitingLocked() == 1 {
		d.wakeLocked()
	}
	return w
}

func (d *door) removeLocked(w *waiter) {
	w.leave()
	if d.waitingLocked() == 0 && d.timer != nil {
		d.timer.Stop()
	}
}

// tell ends the wait of one that has left its lane.
func (w *waiter) tell(admitted bool) {
	w.admitted = admitted
	close(w.ready)
}

// wakeLocked has admit called when there is room for the next.
func (d *door) wakeLocked() {
	probe := d.bucket
	at := probe.take(d.clock.now(), d.rate, 1)
	if d.timer == nil {
		d.timer = time.AfterFunc(at, d.admit)
		return
	}
	d.timer.Reset(at)
}

// admit lets in as many of those that wait as there is room for.
func (d *door) admit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.waitingLocked() > 0 {
		if d.bucket.take(d.clock.now(), d.rate, 1) > 0 {
			d.wakeLocked()
			return
		}
		in := &d.resuming
		if d.turns++; in.n == 0 || d.turns%newcomerTurn == 0 && d.new.n > 0 {
			in = &d.new
		}
		in.next().tell(true)
	}
}

// retryLocked gives each of the refused its own moment, at the rate at which handshakes
// are let in, after those that wait now; and a little later, so that the refused of
// several nodes do not come in step.
func (d *door) retryLocked() time.Duration {
	now := d.clock.now()
	d.horizon = max(d.horizon, now+d.rate.cost(int64(d.waitingLocked()))) + d.rate.cost(1)
	retry := time.Duration(d.horizon - now)
	if retry > mostRetry { // nobody is told to wait for longer; they are spread over the time there is
		d.horizon = now + int64(mostRetry)
		retry = mostRetry/2 + rand.N(mostRetry/2)
	}
	return max(retry, leastRetry) + rand.N(max(retry, leastRetry)/4)
}

// waiting is how many handshakes wait.
func (d *door) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waitingLocked()
}
