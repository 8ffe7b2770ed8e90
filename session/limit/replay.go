package limit

import (
	"net/netip"
	"time"
)

// Replay holds one connection to what its caller may be sent of stored messages, after
// positions or a time: as much as it may read, a quarter for each message, over all of its
// connections together, which wait for each other. It is counted apart from what Read takes:
// neither is in the way of the other. What is too much is put off and never refused. A Replay
// belongs to one goroutine; one that is nil lets everything pass.
type Replay struct {
	// Static after NewReplay.
	limits *Limiter
	reader string
	alarm  alarm

	free     int   // messages that may go, and that Reads have paid for
	paid     int   // messages that may go
	chunk    int64 // what is taken next, of the rate
	reserved int64 // what was taken and is not there yet, from ready on it is
	ready    int64
}

const (
	// replayChunk is taken at a time while there is room. Where there is none it is doubled,
	// up to replayPace a second's worth: often enough that a client sees a stream, seldom
	// enough that each wake is for hundreds of messages, and no more at first than who has
	// missed little can use.
	replayChunk = 16
	replayPace  = 50
)

// NewReplay returns the one of a connection whose caller is told apart as by Read; nil if
// there is no limit. wake is called, from a goroutine of its own, when there is room after
// a Take that had none.
func (l *Limiter) NewReplay(publisher string, addr netip.Addr, client string, wake func()) *Replay {
	if l == nil || l.cfg.Reads.IsZero() {
		return nil
	}
	reader, ok := l.reader(publisher, addr, client)
	if !ok {
		return nil
	}
	return &Replay{limits: l, reader: reader, chunk: replayChunk, alarm: alarm{wake: wake}}
}

// Begin counts what the Read has paid for with which a subscription begins.
func (p *Replay) Begin() {
	if p != nil {
		p.free += leastRead * resumeShare
	}
}

// Take takes one message, or nothing and returns false: wake is called later.
func (p *Replay) Take() bool {
	switch {
	case p == nil:
	case p.free > 0:
		p.free--
	case p.paid > 0 || p.pay():
		p.paid--
	default:
		return false
	}
	return true
}

// Give takes a Take back of what was not delivered after all.
func (p *Replay) Give() {
	if p != nil {
		p.free++
	}
}

// pay takes from the caller's bucket for the messages that follow, or has wake called when
// it is the connection's turn: one of its own, behind those that wait already. They would all
// come for the same room otherwise.
func (p *Replay) pay() bool {
	rate, now := p.limits.cfg.Reads, p.limits.clock.now()
	if p.reserved == 0 {
		wait := p.limits.replays.Reserve(p.reader, rate, p.chunk)
		p.reserved, p.ready = p.chunk, now+int64(wait)
		if wait == 0 {
			p.chunk = replayChunk
		} else {
			p.chunk = min(2*p.chunk, max(replayChunk, rate.PerSecond/replayPace))
			p.limits.metrics.replays.Inc()
		}
	}
	if wait := p.ready - now; wait > 0 {
		p.alarm.set(time.Duration(wait))
		return false
	}
	p.paid, p.reserved = int(p.reserved)*resumeShare, 0
	return true
}

// Finish ends it while its connection goes on: after a Take that had no room wake is called
// at once, for whatever else waits. What was taken and not used is the caller's again.
func (p *Replay) Finish() {
	if p != nil {
		p.giveBack()
		p.alarm.hurry()
	}
}

// Stop ends it with its connection. A wake that has begun may still be running.
func (p *Replay) Stop() {
	if p != nil {
		p.giveBack()
		p.alarm.stop()
	}
}

// giveBack gives the caller what was taken and not used, for its other replays.
func (p *Replay) giveBack() {
	if left := p.reserved + int64(p.paid/resumeShare); left > 0 {
		p.limits.replays.Give(p.reader, p.limits.cfg.Reads, left)
	}
	p.free, p.paid, p.reserved = 0, 0, 0
}
