package limit

import (
	"sync/atomic"
	"time"
)

// Meter counts the commands of one connection. It belongs to the reading side, and its
// zero value is ready.
type Meter struct {
	bucket   bucket
	patience bucket // for what is refused
}

// CommandCost is what an ordinary command costs. Answers to what the node has sent cost
// less, reads more.
const CommandCost = 1000

// Verdict is what becomes of a command.
type Verdict uint8

// The verdicts.
const (
	Pass   Verdict = iota
	Refuse         // answer that it is too much, and when to try again
	Close          // the client has gone on regardless
)

// Command counts a command of so much cost; tighter, unless 0, is the most a second that
// the token allows. A stranger, who has not shown yet who it is, may have no more at once than
// in a second: it has little to say, and may come back with another name, or with none, as
// often as it likes. What is refused is counted apart, each as a whole command: a client
// that does not slow down at all is to be closed when it has been refused as much as it
// may have at once, and one that waits for retry gets all that it may have, and is never
// closed.
func (l *Limiter) Command(m *Meter, tighter int, stranger bool, cost int64) (v Verdict, retry time.Duration) {
	if l == nil {
		return Pass, 0
	}
	rate := l.cfg.Commands.Tighten(int64(tighter))
	if rate.IsZero() {
		return Pass, 0
	}
	if stranger {
		rate.Burst = min(rate.Burst, rate.PerSecond)
	}
	rate = Rate{rate.PerSecond * CommandCost, rate.Burst * CommandCost}
	now := l.clock.now()
	if retry = m.bucket.take(now, rate, cost); retry == 0 {
		return Pass, 0
	}
	l.metrics.refused[ReasonCommands].Inc()
	if m.patience.take(now, rate, CommandCost) > 0 {
		return Close, 0
	}
	// Not before a refusal is forgotten, whatever the command costs.
	return Refuse, max(retry, time.Duration(rate.cost(CommandCost)))
}

// Pacer spreads what is delivered to one connection over time. One that is nil lets
// everything pass.
type Pacer struct {
	// Static after NewPacer.
	clock Clock
	rate  Rate
	met   *counters

	bucket atomic.Int64
	alarm  alarm
}

// NewPacer returns the pacer of a connection that may get so many bytes a second, nil if
// there is no limit; tighter, unless 0, is what the token allows. wake is called, from a
// goroutine of its own, when there is room after a Take that had none.
func (l *Limiter) NewPacer(tighter int64, wake func()) *Pacer {
	if l == nil {
		return nil
	}
	rate := Times(l.cfg.OutboundBytes, 1).Tighten(tighter)
	if rate.IsZero() {
		return nil
	}
	rate.Burst = rate.PerSecond
	return &Pacer{clock: l.clock, rate: rate, met: l.metrics, alarm: alarm{wake: wake}}
}

// Repace returns what NewPacer does for a connection that has one already: old itself where
// the rate stays, else one that goes on where old is, and that has nothing new to give away.
func (l *Limiter) Repace(old *Pacer, tighter int64, wake func()) *Pacer {
	p := l.NewPacer(tighter, wake)
	if old == nil || p == nil {
		return p
	}
	if p.rate == old.rate {
		return old
	}
	p.bucket.Store(old.bucket.Load()) // a time, which is the same at any rate
	return p
}

// Take takes n bytes, or nothing and returns false: wake is called later.
func (p *Pacer) Take(n int) bool {
	if p == nil {
		return true
	}
	for {
		old := p.bucket.Load()
		b := bucket(old)
		wait := b.take(p.clock.now(), p.rate, int64(n))
		if wait > 0 {
			p.later(wait)
			return false
		}
		if p.bucket.CompareAndSwap(old, int64(b)) {
			return true
		}
	}
}

// Give takes a Take back of what was not delivered after all.
func (p *Pacer) Give(n int) {
	if p != nil {
		p.bucket.Add(-p.rate.cost(int64(n)))
	}
}

// later has wake called when there is room. A short wait is made longer, so that a
// connection is woken for a handful of messages and not for each.
func (p *Pacer) later(wait time.Duration) {
	const least = 20 * time.Millisecond
	p.met.paced.Inc()
	p.alarm.set(max(wait, least))
}

// Stop ends the pacer. A wake that has begun may still be running.
func (p *Pacer) Stop() {
	if p != nil {
		p.alarm.stop()
	}
}
