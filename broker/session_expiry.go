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
	// Bounds of the time between two looks.
	leastLook = 250 * time.Millisecond
	mostLook  = 30 * time.Second
	// expireWork bounds one look, and what the observer does in it.
	expireWork = time.Minute
)

// expireLoop looks for sessions that have expired. Every node does: which one ends a
// session is decided by the first write.
func (s *Sessions) expireLoop(ctx context.Context) {
	every := min(max(s.b.cfg.Sessions.shortest()/4, leastLook), mostLook)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		work, cancel := context.WithTimeout(ctx, expireWork)
		err := s.expire(work, time.Now())
		cancel()
		if err != nil && ctx.Err() == nil {
			s.b.log.Debug("could not look for expired sessions, will look again", slog.Any("err", err))
		}
	}
}

// expire ends what has expired. The bucket has the sessions in the order of their last
// write, so only the oldest need be looked at.
func (s *Sessions) expire(ctx context.Context, now time.Time) error {
	young := now.Add(-s.b.cfg.Sessions.shortest())
	for from := uint64(1); from != 0; {
		list, next, err := s.page(ctx, migrations.SessionsWildcard, from, batchMost)
		if err != nil {
			return err
		}
		for i := range list {
			r := &list[i]
			if r.Seen.After(young) {
				return nil
			}
			if now.Before(r.Expires()) && !r.ending || r.ending && now.Before(r.Seen.Add(endingFor)) {
				continue
			}
			if err := s.end(ctx, r); err != nil {
				return err
			}
		}
		from = next
	}
	return nil
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
