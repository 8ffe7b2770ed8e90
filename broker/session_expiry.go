package broker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// endingFor is how long a node may take to end an expired session before another
	// does it again.
	endingFor = time.Minute
	// Bounds of the time after which it is asked whether to look.
	leastLook = 250 * time.Millisecond
	mostLook  = 30 * time.Second
	// expireWork bounds one look, and what the observer does in it.
	expireWork = time.Minute
)

// expireLoop looks for sessions that have expired. Every node does: which one ends a
// session is decided by the first write. A look reads all of them, so there is one only
// when something can have expired, and never more than a small part of the time.
func (s *Sessions) expireLoop(ctx context.Context) {
	shortest := s.b.cfg.Sessions.shortest()
	tick := time.NewTicker(min(max(shortest/4, leastLook), mostLook))
	defer tick.Stop()
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		begin := time.Now()
		if begin.Before(next) {
			continue
		}
		work, cancel := context.WithTimeout(ctx, expireWork)
		earliest, err := s.expire(work, begin)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				s.b.log.Debug("could not look for expired sessions, will look again", slog.Any("err", err))
			}
			continue
		}
		// What is written from now on lives for the shortest time at least.
		next = begin.Add(shortest)
		if !earliest.IsZero() && earliest.Before(next) {
			next = earliest
		}
		if rest := time.Now().Add(countShare * time.Since(begin)); next.Before(rest) {
			next = rest
		}
	}
}

// expire ends what has expired, and returns when the next will have, zero if there is none.
func (s *Sessions) expire(ctx context.Context, now time.Time) (earliest time.Time, err error) {
	for from := uint64(1); from != 0; {
		list, next, err := s.page(ctx, migrations.SessionsWildcard, from, countBatch)
		if err != nil {
			return earliest, err
		}
		for i := range list {
			r := &list[i]
			at := r.Expires()
			if r.ending {
				at = r.Seen.Add(endingFor)
			}
			if now.Before(at) {
				if earliest.IsZero() || at.Before(earliest) {
					earliest = at
				}
				continue
			}
			if err := s.end(ctx, r); err != nil {
				return earliest, err
			}
		}
		from = next
	}
	return earliest, nil
}

// end marks an expired session as ending, which one node wins, removes its positions,
// tells, and removes the record. A node that dies in between leaves the mark, and is
// followed by another.
func (s *Sessions) end(ctx context.Context, r *sessionRecord) error {
	r.Node, r.Client = "", ""
	if err := s.write(ctx, &r.SessionRecord, true); err != nil {
		if errors.Is(err, errConflict) {
			return nil // it is connected again, or another node's
		}
		return err
	}
	s.dropAll(ctx, r.ID, r.Channels)
	if s.observer != nil {
		if err := s.observer.SessionExpired(ctx, &r.SessionRecord); err != nil {
			return err
		}
	}
	s.b.met.sessionsExpired.Inc()
	if err := s.erase(ctx, r.ID, r.Revision); err != nil && !errors.Is(err, errConflict) {
		return err
	}
	return nil
}
