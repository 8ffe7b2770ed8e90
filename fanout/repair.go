package fanout

import (
	"context"
	"log/slog"

	"github.com/rivulet-rt/rivulet/protocol"
)

// repairLocked starts reading the log from where the source stands.
func (s *liveSource) repairLocked() {
	if s.state != feedLive {
		return
	}
	s.state = feedRepairing
	s.hub.metrics.repairs.Inc()
	s.hub.start(func() { s.repair() })
}

// suspect makes the source prove itself before it hands over anything more.
func (s *liveSource) suspect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != feedLive {
		s.again = true
		return
	}
	s.again = true
	s.repairLocked()
}

// baseLocked is from where a repair reads: everything up to it was handed over.
func (s *liveSource) baseLocked() Position {
	if s.loose() {
		return s.floor
	}
	return s.last
}

// repair reads the log until the source joins the live feed again. It ends only
// then, or with the hub: while the log is away it tries for ever.
func (s *liveSource) repair() {
	wait := s.hub.backoff()
	for s.hub.ctx.Err() == nil {
		done, err := s.repairOnce()
		if done {
			return
		}
		if err != nil {
			s.hub.log.Debug("repair waits for the log", slog.String("stream", string(s.key.Stream)), slog.Any("err", err))
			wait.sleep(s.hub.ctx)
			continue
		}
		wait.reset()
	}
}

// repairOnce reads one batch and reports whether the source is live again.
func (s *liveSource) repairOnce() (live bool, err error) {
	s.mu.Lock()
	from, last, closed := s.baseLocked(), s.last, s.state == feedFailed
	s.again, s.settled = false, len(s.pending)
	number := s.beginLocked()
	s.mu.Unlock()
	if closed {
		return true, nil
	}
	l, err := s.look(from, last)
	if err != nil {
		return false, err
	}
	if l.reason == protocol.ReasonLogChanged {
		if err := s.raiseEpoch(last, l.Evidence.Tag); err != nil {
			return false, err
		}
		if !l.fromHolds {
			if l.Batch, l.begin, err = s.hub.readAt(s.hub.ctx, s.key, newerThan(l.Evidence), s.hub.cfg.ReadBatch); err != nil {
				return false, err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == feedFailed {
		return true, nil
	}
	if !l.ok {
		s.gapLocked(last, l.begin, l.reason)
		if until := lostUntil(l.begin, l.Evidence); until > 0 {
			// Of a pattern, some channels lost messages and others did not: the ring is
			// complete only from where the last of those begins.
			s.ring.reset(Position{Stream: anyTag(), Offset: until})
			s.raiseViewsLocked(until)
		}
		last = l.begin
	}
	return s.applyLocked(l.Batch, last, number), nil
}

// look is one read from where a source stands, and what it proves.
type look struct {
	Batch
	ok, fromHolds bool
	reason        string   // why not ok
	begin         Position // where delivery goes on if it is not
}

// look reads from where all was handed over, and proves that nothing is missing from
// there to what was handed over last.
func (s *liveSource) look(from, last Position) (look, error) {
	b, err := s.hub.reader.read(s.hub.ctx, Query{Source: s.key, After: from.Offset, Limit: s.hub.cfg.ReadBatch, Prove: from})
	if err != nil {
		return look{}, err
	}
	ok, reason := Complete(from, b.Evidence)
	l := look{Batch: b, ok: ok, fromHolds: ok, reason: reason, begin: restart(from, reason, b)}
	if ok && last != from {
		// A loose pattern reads from its floor, but what it handed over after that may
		// be of a log that was rolled back: then everything after the floor goes out
		// again, rather twice than not at all.
		l.begin = from
		l.ok, l.reason, err = s.proveLast(s.hub.ctx, last)
	}
	return l, err
}

// raiseEpoch gives a log that changed a new epoch, unless it has one: the change is
// proven by what this node itself was handed, and nobody shall trust positions of
// the old log where only the epoch can tell them apart. After it, judge again.
func (s *liveSource) raiseEpoch(last Position, now StreamTag) error {
	if last.Stream != now {
		return nil
	}
	if err := s.hub.epochs.Raise(s.hub.ctx, s.key.Stream, now); err != nil {
		return err
	}
	return errEpochRaised
}

// proveLast reports whether the last message that was handed over is still of this log.
func (s *liveSource) proveLast(ctx context.Context, last Position) (ok bool, reason string, err error) {
	b, err := s.hub.reader.read(ctx, Query{Source: s.key, After: last.Offset, Limit: 1, Prove: last})
	if err != nil {
		return false, "", err
	}
	if ok, reason = Complete(last, b.Evidence); reason == protocol.ReasonLogChanged {
		return ok, reason, nil
	}
	return true, "", nil
}

// restart is where delivery goes on after history was lost: never before from,
// and behind the marker where the channel was purged, which is told as the gap.
func restart(from Position, reason string, b Batch) Position {
	begin := b.Evidence.Begin
	if reason == protocol.ReasonPurged && len(b.Messages) > 0 && b.Messages[0].Kind == KindPurge {
		return b.Messages[0].Position
	}
	if begin.Offset < from.Offset {
		return from
	}
	return begin
}

// newerThan is the offset after which a changed log holds what was stored after
// the position the evidence is about, so nobody gets again what it had.
func newerThan(ev Evidence) uint64 {
	if ev.FirstSince == 0 {
		return ev.LastSeq
	}
	return ev.FirstSince - 1
}

// applyLocked hands over what was read, when last had been handed over, and reports
// whether the source is live.
func (s *liveSource) applyLocked(b Batch, last Position, number uint64) (live bool) {
	for _, m := range b.Messages {
		if m.Offset() <= s.recent[m.Channel] || m.Offset() <= s.baseLocked().Offset {
			continue
		}
		s.acceptLocked(m, true)
	}
	if n := len(b.Messages); s.loose() && n > 0 && b.Messages[n-1].Offset() > s.floor.Offset {
		s.floor = b.Messages[n-1].Position
	}
	if b.More {
		return false
	}
	s.provenLocked(last, number)
	s.pruneLocked()
	live = s.joinLocked()
	s.proveLocked()
	return live
}

// pruneLocked forgets channels that the floor has overtaken.
func (s *liveSource) pruneLocked() {
	for c, at := range s.recent {
		if at <= s.floor.Offset {
			delete(s.recent, c)
		}
	}
}

// joinLocked hands over the messages that waited and goes live, unless they do
// not follow on what was read. Those that waited already when the read began are
// left out: the read, which is complete, brought them, or they are of a log that
// is gone.
func (s *liveSource) joinLocked() bool {
	if s.again {
		return false // something was lost among or after those that wait
	}
	waiting := s.pending[min(s.settled, len(s.pending)):]
	s.pending, s.settled = nil, 0
	for i, m := range waiting {
		switch s.orderLocked(m) {
		case orderNext:
			s.acceptLocked(m, false)
		case orderHole, orderChanged:
			s.pending = append(s.pending, waiting[i:]...)
			return false
		case orderSeen:
		}
	}
	s.state = feedLive
	return true
}
