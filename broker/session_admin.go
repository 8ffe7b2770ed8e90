package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Reset puts a session to other positions. A connection that has it is ended first, to
// come back. Channels that the session does not have are ignored. Errors wrap
// fanout.ErrNoSession, fanout.ErrUnavailable or fanout.ErrDiskFull.
func (s *Sessions) Reset(ctx context.Context, id fanout.SessionID, to []fanout.SessionChannel) (*fanout.SessionRecord, error) {
	for range tries {
		have, err := s.existing(ctx, id)
		if err != nil {
			return nil, err
		}
		if have.Node != "" && s.askYield(ctx, have, fanout.YieldReset) {
			if have, err = s.existing(ctx, id); err != nil {
				return nil, err
			}
		}
		rec, err := s.reset(ctx, have, to)
		if !errors.Is(err, errConflict) {
			return rec, err
		}
	}
	return nil, fmt.Errorf("reset session: it changes all the time: %w", fanout.ErrUnavailable)
}

// reset moves places behind new fences.
func (s *Sessions) reset(ctx context.Context, have *sessionRecord, to []fanout.SessionChannel) (*fanout.SessionRecord, error) {
	rec := have.Clone()
	var err error
	for _, t := range to {
		k := rec.Find(t.Channel)
		if k == nil {
			continue
		}
		k.Position, k.Reset = t.Position, true
		if *k, err = s.shelfOf(*k).keep(ctx, rec.ID, *k, timeToLive(rec.TTL)); err != nil {
			break
		}
	}
	if err == nil {
		rec.Node, rec.Client = "", ""
		err = s.write(ctx, rec, false)
	}
	if err != nil {
		s.dropAll(ctx, rec.ID, added(have.Channels, rec.Channels))
		return nil, err
	}
	s.dropAll(ctx, rec.ID, added(rec.Channels, have.Channels))
	return rec, nil
}

// Delete removes a session. A connection that has it is closed. Errors as of Reset.
func (s *Sessions) Delete(ctx context.Context, id fanout.SessionID) error {
	for range tries {
		have, err := s.existing(ctx, id)
		if err != nil {
			return err
		}
		if have.Node != "" && s.askYield(ctx, have, fanout.YieldDeleted) {
			if have, err = s.existing(ctx, id); err != nil {
				return err
			}
		}
		if err := s.erase(ctx, id, have.Revision); !errors.Is(err, errConflict) {
			if err == nil {
				s.dropAll(ctx, id, have.Channels)
			}
			return err
		}
	}
	return fmt.Errorf("delete session: it changes all the time: %w", fanout.ErrUnavailable)
}
