package limit

import (
	"net/netip"
	"time"
)

// Replay holds one connection to what its caller may be sent of stored messages, after
// positions or a time: all connections of the caller take from the bucket of its reads, a
// quarter for each message, and wait for each other there. What is too much is put off and
// never refused. A Replay belongs to one goroutine, but for Stop; one that is nil lets
// everything pass.
type Replay struct {
	// Static after NewReplay.
	limits *Limiter
	reader string
	rate   Rate // of messages' shares, less what is kept for others
	alarm  alarm

	paid     int   // messages that may go
	reserved int64 // what was taken from the bucket and is not there yet, from ready on it is
	ready    int64
}

const (
	// replayPart of what may be read at once is taken by replays. The rest stays for
	// whatever else the caller reads: a subscription begins beside the longest replay.
	replayPart, replayOf = 3, 4
	// replayChunk is taken at a time while there is room, and replayPace a second's worth
	// of it where there is none: often enough that a client sees a stream, and seldom
	// enough that each wake is for hundreds of messages.
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
	rate := l.cfg.Reads
	rate.Burst = rate.Burst * replayPart / replayOf
	return &Replay{limits: l, reader: reader, rate: rate, alarm: alarm{wake: wake}}
}

// Begin counts what the Read has paid for with which a subscription begins.
func (p *Replay) Begin() {
	if p != nil {
		p.paid += leastRead * resumeShare
	}
}

// Take takes one message, or nothing and returns false: wake is called later.
func (p *Replay) Take() bool {
	if p == nil {
		return true
	}
	if p.paid == 0 && !p.pay() {
		return false
	}
	p.paid--
	return true
}

// Give takes a Take back of what was not delivered after all.
func (p *Replay) Give() {
	if p != nil {
		p.paid++
	}
}

// pay takes from the caller's bucket for the messages that follow, or has wake called when
// it is the connection's turn.
func (p *Replay) pay() bool {
	readers, now := p.limits.readers, p.limits.clock.now()
	if p.reserved == 0 {
		if readers.Take(p.reader, p.rate, replayChunk) == 0 {
			p.paid = replayChunk * resumeShare
			return true
		}
		// A turn of its own, behind those that wait already: they would all come for the
		// same room otherwise, and each read what it is not let have.
		p.reserved = max(replayChunk, p.rate.PerSecond/replayPace)
		p.ready = now + int64(readers.Reserve(p.reader, p.rate, p.reserved))
		p.limits.metrics.replays.Inc()
	}
	if wait := p.ready - now; wait > 0 {
		p.alarm.set(time.Duration(wait))
		return false
	}
	p.paid, p.reserved = int(p.reserved)*resumeShare, 0
	return true
}

// Stop ends it; what was taken stays taken. A wake that has begun may still be running.
func (p *Replay) Stop() {
	if p != nil {
		p.alarm.stop()
	}
}
