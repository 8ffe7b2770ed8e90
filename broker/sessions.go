package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// Sessions keeps durable sessions in the log: for each a record, which names its owner
// and its channels, and a position in each of these. A record is written with
// compare-and-set, and a position only by who owns the record.
//
// A position in a place of its own is moved without the record, so that nothing but the
// place's fence, which the record names, keeps those away that had the session. Two rules
// make that hold whichever answer is lost and wherever a node dies:
//
//   - A fence is of one owner. Who takes a session makes every place anew before its
//     record is written, also after a release: whoever released may not have heard the
//     answer, and does it again. What an earlier owner still writes, late or again,
//     reaches places that no record names.
//   - A place is dropped only when no stored record names it and none can be stored any
//     more that does: see discard. Otherwise it is left, and the server removes it when it
//     has been inactive.
//
// Who does not know whether its write was stored asks whether it is the owner still,
// before it writes again: see stillOwner.
type Sessions struct {
	b     *Broker
	kv    shelf
	cons  shelf
	count sessionCount
	// Set by Serve.
	yielder  Yielder
	observer SessionObserver
	asked    chan yieldCall // bounded: what finds no room is asked again
	garbled  sync.Once      // a record that cannot be read is told of
}

// Yielder gives a session up that a connection of this node has: it ends the
// connection, writes what is unwritten, and returns when it is released. It does
// nothing where the connection does not have it.
type Yielder interface {
	Yield(ctx context.Context, id fanout.SessionID, client string, why fanout.YieldReason)
}

// SessionObserver is told of durable sessions that have expired, each by one node. It is
// told again, perhaps by another, where it returned an error or the node died.
type SessionObserver interface {
	SessionExpired(ctx context.Context, r *fanout.SessionRecord) error
}

// tries bounds how often an operation begins anew because the record was written by
// another meanwhile.
const tries = 8

// shelvesAtOnce is how many places of one session are worked on at a time.
const shelvesAtOnce = 8

func newSessions(b *Broker) *Sessions {
	s := &Sessions{b: b, kv: recordShelf{}, cons: &consumerShelf{b}, asked: make(chan yieldCall, 1024)}
	s.count.turn = make(chan struct{}, 1)
	s.count.turn <- struct{}{}
	return s
}

// Sessions keeps the durable sessions in this broker's log.
func (b *Broker) Sessions() *Sessions { return b.sessions }

// shelfOf is where a place is kept: it stays where it was made.
func (s *Sessions) shelfOf(k fanout.SessionChannel) shelf {
	if k.Fence != "" {
		return s.cons
	}
	return s.kv
}

// timeToLive is the longest of the session's namespaces.
func (s *Sessions) timeToLive(r *fanout.SessionRecord) time.Duration {
	var ttl time.Duration
	for _, k := range r.Channels {
		ttl = max(ttl, s.policy(k.Channel.Namespace()).TTL)
	}
	if ttl == 0 {
		return emptySessionTTL
	}
	return ttl
}

// Save writes what has changed of a session that the caller has taken, and brings rec up
// to date. The error wraps fanout.ErrSuperseded where the session is another's now;
// after any other the same change may be saved again. Calls for one session must not
// overlap.
func (s *Sessions) Save(ctx context.Context, rec *fanout.SessionRecord, change fanout.SessionChange) error {
	if rec.Client == "" {
		return fmt.Errorf("save session: it was released: %w", fanout.ErrSuperseded)
	}
	unheard, err := s.stillOwner(ctx, rec)
	if err != nil {
		return err
	}
	next := rec.Clone()
	if err := s.apply(ctx, next, change); err != nil {
		s.dropAll(ctx, rec.ID, added(rec.Channels, next.Channels)) // no record ever named them
		return superseded(err)
	}
	if err := s.saveRecord(ctx, rec, next, change); err != nil {
		rec.Unsure = !errors.Is(err, errConflict)
		s.discard(ctx, rec.ID, next.Revision, added(rec.Channels, next.Channels), err)
		return superseded(err)
	}
	gone := added(next.Channels, slices.Concat(rec.Channels, unheard))
	*rec = *next
	rec.Unsure = false
	s.dropAll(ctx, rec.ID, gone)
	return nil
}

// superseded tells the caller of a conflict.
func superseded(err error) error {
	if errors.Is(err, errConflict) {
		return fmt.Errorf("save session: %w: %w", fanout.ErrSuperseded, err)
	}
	return err
}

// stillOwner asks, after a write whose outcome is not known, whether rec's session is
// still the caller's: it is not if that was a release. It returns the places that the
// write made, if it was stored.
func (s *Sessions) stillOwner(ctx context.Context, rec *fanout.SessionRecord) (unheard []fanout.SessionChannel, err error) {
	if !rec.Unsure {
		return nil, nil
	}
	have, err := s.read(ctx, rec.ID)
	if err != nil {
		return nil, err
	}
	if !have.of(rec) {
		return nil, superseded(errConflict)
	}
	rec.Revision = have.Revision
	for i := range rec.Channels {
		k := &rec.Channels[i]
		if h := have.Find(k.Channel); h != nil && h.Fence == "" && k.Fence == "" {
			k.Position, k.Reset = h.Position, h.Reset // what is written next must not take it back
		}
	}
	return added(rec.Channels, have.Channels), nil
}

// apply makes the change in next, and on the shelves what does not lie in the record.
func (s *Sessions) apply(ctx context.Context, next *fanout.SessionRecord, change fanout.SessionChange) error {
	for _, c := range change.Removed {
		next.Channels = slices.DeleteFunc(next.Channels, func(k fanout.SessionChannel) bool { return k.Channel == c })
	}
	for _, k := range change.Added {
		p := s.policy(k.Channel.Namespace())
		if err := s.admit(ctx, next, k.Channel, p); err != nil {
			return err
		}
		on := s.kv
		if p.Store == SessionsInConsumers {
			on = s.cons
		}
		k.Began = k.Position.Offset
		k, err := on.keep(ctx, next.ID, k, timeToLive(max(p.TTL, next.TTL)))
		if k.Fence != "" || err == nil {
			next.Channels = append(next.Channels, k)
		}
		if err != nil {
			return err
		}
	}
	next.Sort()
	next.TTL = s.timeToLive(next)
	for _, m := range change.Moved {
		if k := next.Find(m.Channel); k != nil {
			k.Position, k.Reset = m.Position, false
		}
	}
	return s.moveAll(ctx, next, change)
}

// moveAll moves what lies outside the record: the places that have moved, and all of
// them where the session says that it is still there.
func (s *Sessions) moveAll(ctx context.Context, next *fanout.SessionRecord, change fanout.SessionChange) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(shelvesAtOnce)
	all := sessionDue(next) || len(change.Moved) == 0 && len(change.Added) == 0 && len(change.Removed) == 0 && !change.Release
	for i := range next.Channels {
		k := &next.Channels[i]
		moved := slices.ContainsFunc(change.Moved, func(m fanout.SessionChannel) bool { return m.Channel == k.Channel })
		if k.Fence != "" && (moved || all && !k.Position.IsZero()) {
			group.Go(func() error { return s.move(ctx, next, k, all) })
		}
	}
	return group.Wait()
}

// sessionDue reports whether a session must say that it is there: also one whose positions move
// all the time, where those are not in its record.
func sessionDue(r *fanout.SessionRecord) bool { return time.Since(r.Seen) >= r.TTL/4 }

// move moves one place. A place that is gone is another's, unless the record is still
// the caller's: then somebody removed it, and it is made again.
func (s *Sessions) move(ctx context.Context, next *fanout.SessionRecord, k *fanout.SessionChannel, alive bool) error {
	err := s.shelfOf(*k).move(ctx, next.ID, *k, timeToLive(next.TTL), alive)
	switch {
	case errors.Is(err, fanout.ErrUnknownNamespace):
		return nil // it is no longer configured; the others go on
	case !errors.Is(err, errConflict):
		return err
	}
	have, rerr := s.read(ctx, next.ID)
	if rerr != nil {
		return rerr
	}
	if !have.of(next) {
		return err
	}
	fresh, err := s.shelfOf(*k).keep(ctx, next.ID, *k, timeToLive(next.TTL))
	*k = fresh
	return err
}

// saveRecord writes the record, unless nothing has changed that is in it.
func (s *Sessions) saveRecord(ctx context.Context, rec, next *fanout.SessionRecord, change fanout.SessionChange) error {
	if change.Release {
		next.Node, next.Client = "", ""
	}
	outside := len(change.Moved) > 0 && len(change.Added) == 0 && len(change.Removed) == 0 && !change.Release && !sessionDue(rec) && !rec.Unsure
	for _, m := range change.Moved {
		was, k := rec.Find(m.Channel), next.Find(m.Channel)
		outside = outside && k != nil && k.Fence != "" && was.Fence == k.Fence && !was.Reset
	}
	if outside {
		return nil
	}
	for range tries {
		err := s.write(ctx, next, false)
		if !errors.Is(err, errConflict) {
			return err
		}
		// It may be our own, whose acknowledgement was lost.
		have, rerr := s.read(ctx, rec.ID)
		if rerr != nil {
			return rerr
		}
		if !have.of(rec) {
			return err
		}
		next.Revision = have.Revision
	}
	return fmt.Errorf("save session: %w", fanout.ErrUnavailable)
}

// Get returns a session, with its positions. The error wraps fanout.ErrNoSession if
// there is none.
func (s *Sessions) Get(ctx context.Context, id fanout.SessionID) (*fanout.SessionRecord, error) {
	have, err := s.existing(ctx, id)
	if err != nil {
		return nil, err
	}
	for i := range have.Channels {
		err := s.shelfOf(have.Channels[i]).load(ctx, id, &have.Channels[i])
		if err != nil && !errors.Is(err, fanout.ErrUnknownNamespace) {
			return nil, err
		}
	}
	return &have.SessionRecord, nil
}

func (s *Sessions) existing(ctx context.Context, id fanout.SessionID) (*sessionRecord, error) {
	have, err := s.read(ctx, id)
	if err != nil {
		return nil, err
	}
	if have.absent || have.expired(time.Now()) {
		return nil, fmt.Errorf("%w: %q", fanout.ErrNoSession, id.Name)
	}
	return have, nil
}

// List returns a page of the sessions of a user, or of all where user is "", in the
// order in which they were written last. after is 0, then what the page before returned
// as next, which is 0 at the end. A session that is written while somebody pages comes
// again; none is left out. Positions that do not lie in the record are not filled in.
func (s *Sessions) List(ctx context.Context, user string, after uint64, limit int) (list []*fanout.SessionRecord, next uint64, err error) {
	filter, now := migrations.SessionsWildcard, time.Now()
	if user != "" {
		filter = migrations.SessionSubject(user, "")
	}
	for next = after; len(list) < limit; {
		var part []sessionRecord
		part, next, err = s.page(ctx, filter, next, min(limit-len(list), batchMost))
		if err != nil {
			return nil, 0, err
		}
		for i := range part {
			if !part[i].expired(now) {
				list = append(list, &part[i].SessionRecord)
			}
		}
		if next == 0 {
			break
		}
	}
	return list, next, nil
}
