package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// reset moves places behind new fences; where whoever has the session has not given it
// up, the others get new ones too.
func (s *Sessions) reset(ctx context.Context, have *sessionRecord, to []fanout.SessionChannel) (*fanout.SessionRecord, error) {
	rec := have.Clone()
	var err error
	for i := range rec.Channels {
		k := &rec.Channels[i]
		t := slices.IndexFunc(to, func(t fanout.SessionChannel) bool { return t.Channel == k.Channel })
		switch {
		case t >= 0:
			k.Position, k.Reset, k.Began = to[t].Position, true, to[t].Position.Offset
		case k.Fence == "" || have.Node == "":
			continue
		default:
			err = s.cons.load(ctx, rec.ID, k)
		}
		if err == nil {
			*k, err = s.shelfOf(*k).keep(ctx, rec.ID, *k, timeToLive(rec.TTL))
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		s.dropAll(ctx, rec.ID, added(have.Channels, rec.Channels)) // no record ever named them
		return nil, err
	}
	rec.Node, rec.Client = "", ""
	if err := s.write(ctx, rec, false); err != nil {
		s.discard(ctx, rec.ID, have.Revision, slices.Concat(have.Channels, added(have.Channels, rec.Channels)), err)
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
		err = s.erase(ctx, id, have.Revision)
		if err == nil {
			s.dropAll(ctx, id, have.Channels)
			return nil
		}
		s.discard(ctx, id, have.Revision, have.Channels, err)
		if !errors.Is(err, errConflict) {
			return err
		}
	}
	return fmt.Errorf("delete session: it changes all the time: %w", fanout.ErrUnavailable)
}
