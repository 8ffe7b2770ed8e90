package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rivulet-rt/rivulet/fanout"
)

// Take makes client, a connection of this node, the owner of a session, which is made
// if there is none; resumed says that there was one. The connection that had it is asked
// to give it up, and loses it in any case. Errors are *fanout.LimitError, or wrap
// fanout.ErrUnavailable or fanout.ErrDiskFull.
func (s *Sessions) Take(ctx context.Context, id fanout.SessionID, client string) (rec *fanout.SessionRecord, resumed bool, err error) {
	for range tries {
		have, err := s.read(ctx, id)
		if err != nil {
			return nil, false, err
		}
		if have.Node != "" && !have.ending && have.Client != client {
			if s.askYield(ctx, have, fanout.YieldTaken) {
				if have, err = s.read(ctx, id); err != nil {
					return nil, false, err
				}
			}
		}
		rec, resumed, err = s.take(ctx, have, client)
		if !errors.Is(err, errConflict) {
			return rec, resumed, err
		}
	}
	return nil, false, fmt.Errorf("take session: too many want it: %w", fanout.ErrUnavailable)
}

// take writes the new owner over a record as it was read.
func (s *Sessions) take(ctx context.Context, have *sessionRecord, client string) (*fanout.SessionRecord, bool, error) {
	rec := have.Clone()
	resumed := !have.absent && !have.expired(time.Now())
	if !resumed {
		if err := s.admitUser(ctx, have.ID.User); err != nil {
			return nil, false, err
		}
		rec = &fanout.SessionRecord{ID: have.ID, Revision: have.Revision, Created: time.Now()}
	}
	if resumed {
		if err := s.inherit(ctx, have, rec); err != nil {
			s.dropAll(ctx, have.ID, added(have.Channels, rec.Channels)) // no record ever named them
			return nil, false, err
		}
	}
	rec.Node, rec.Client, rec.TTL = s.b.cfg.Node, client, s.timeToLive(rec)
	revision := rec.Revision
	if err := s.write(ctx, rec, false); err != nil {
		s.discard(ctx, have.ID, revision, slices.Concat(have.Channels, added(have.Channels, rec.Channels)), err)
		return nil, false, err
	}
	s.dropAll(ctx, have.ID, added(rec.Channels, have.Channels))
	return rec, resumed, nil
}

// inherit loads the positions into rec, and gives each place a new fence.
func (s *Sessions) inherit(ctx context.Context, have *sessionRecord, rec *fanout.SessionRecord) error {
	// An embedded log has died with another node that had the session, and with whatever
	// that one had under way.
	alone := s.b.srv != nil && have.Node != "" && have.Node != s.b.cfg.Node
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(shelvesAtOnce)
	for i := range rec.Channels {
		group.Go(func() error {
			k := &rec.Channels[i]
			err := s.shelfOf(*k).load(ctx, rec.ID, k)
			if errors.Is(err, fanout.ErrUnknownNamespace) {
				return nil // it is no longer configured; the others go on
			}
			if err != nil || k.Fence == "" || alone && !k.Position.IsZero() {
				return err
			}
			// What is begun is awaited: a place of which nobody knows whether it is made yet
			// could not be given up.
			fresh, err := s.cons.keep(context.WithoutCancel(ctx), rec.ID, *k, timeToLive(rec.TTL))
			*k = fresh
			return err
		})
	}
	return group.Wait()
}

// added are the places of b that are not in a: of another channel, or another fence.
func added(a, b []fanout.SessionChannel) (list []fanout.SessionChannel) {
	for _, k := range b {
		if k.Fence != "" && !slices.ContainsFunc(a, func(o fanout.SessionChannel) bool { return o.Channel == k.Channel && o.Fence == k.Fence }) {
			list = append(list, k)
		}
	}
	return list
}

// dropAll gives places up that no record names and none will; what cannot be done now the
// server does when they have been inactive. It has a time of its own: the caller's may be
// over, and then they would all be left.
func (s *Sessions) dropAll(ctx context.Context, id fanout.SessionID, list []fanout.SessionChannel) {
	if len(list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	for _, k := range list {
		if err := s.shelfOf(k).drop(ctx, id, k); err != nil {
			s.b.log.Debug("position of a durable session is left to expire", slog.String("channel", k.Channel.String()), slog.Any("err", err))
		}
	}
}

// dropTimeout bounds how long places are given up that are of no use any more.
const dropTimeout = 5 * time.Second

// discard gives up those places of list that no record names, after a write over a
// revision that failed with cause. Where that may be stored all the same the record says
// which they are, as soon as it is another than the one of that revision: then the write
// cannot be stored any more. While it is the same, it still may, and all are left.
func (s *Sessions) discard(ctx context.Context, id fanout.SessionID, revision uint64, list []fanout.SessionChannel, cause error) {
	if list = added(nil, list); len(list) == 0 {
		return
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	have, err := s.read(work, id)
	if err != nil || have.Revision == revision {
		s.b.log.Debug("positions of a durable session are left to expire", slog.Int("positions", len(list)), slog.Any("err", errors.Join(cause, err)))
		return
	}
	s.dropAll(ctx, id, added(have.Channels, list))
}
