package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// trustLook is how often a node looks for what it was not told of. A look that finds
	// nothing is one request.
	trustLook = 400 * time.Millisecond
	// trustBehind is the pause before a look where something is known to be missing.
	trustBehind = 20 * time.Millisecond
	// trustLead is how many entries one look reads from the leader, each by a request.
	trustLead = 64
	// trustVerify is how often it is made sure that the bucket is the one that was read.
	trustVerify = 30 * time.Second
	// trustWork bounds one look.
	trustWork = 10 * time.Second
	// trustGone is how long it is kept that an entry was removed: a node that did not
	// reach the log for longer reads everything anew.
	trustGone = 30 * 24 * time.Hour
)

// TrustListener takes what the log has of API keys and revocations.
type TrustListener interface {
	// Trusted takes changes in their order, from one goroutine; whole says that they are
	// all there is. It must not wait.
	Trusted(list []fanout.TrustEntry, whole bool)
}

// Trust keeps API keys and revocations in the log, and tells this node of all of them.
// While the log cannot be reached, what was told last holds.
type Trust struct {
	// Static after Start.
	b        *Broker
	mux      *mux // its own connection
	listener TrustListener
	wake     chan struct{} // size 1: something was written
	told     atomic.Uint64 // up to what sequence there is something, as the server has said

	// Owned by Start, then by run.
	next     uint64 // what comes first of what is not read
	created  time.Time
	dials    uint64
	verified time.Time // zero: the bucket may be another
	anew     bool      // everything must be read, which has not succeeded yet
	failing  bool
	read     time.Time // when a look succeeded last

	mu      sync.Mutex // guards the following
	applied uint64     // the listener has everything up to here
	moved   chan struct{}
}

var errTrustStarted = errors.New("broker: trust is already started")

func newTrust(b *Broker) *Trust {
	return &Trust{b: b, wake: make(chan struct{}, 1), next: 1, moved: make(chan struct{})}
}

// Trust keeps the API keys and revocations in this broker's log.
func (b *Broker) Trust() *Trust { return b.trust }

// Start tells the listener of everything there is before it returns, and of changes from
// then on, until the broker is closed. It is called once. It waits for the log until ctx
// ends; its error is the last one then.
func (t *Trust) Start(ctx context.Context, l TrustListener) error {
	if t.listener != nil {
		return errTrustStarted
	}
	t.listener = l
	// Before the first look, so that nothing falls between the two.
	if _, err := t.b.ctl.nc.Subscribe(migrations.TrustLive, t.poke); err != nil {
		return fmt.Errorf("broker: subscribe to API keys and revocations: %w", err)
	}
	for {
		err := t.look(ctx)
		if err == nil {
			break
		}
		if perr := pause(ctx, keepRetry); perr != nil {
			return errors.Join(fmt.Errorf("read API keys and revocations: %w", err), perr)
		}
	}
	t.b.wg.Go(func() { t.run(t.b.ctx) })
	return nil
}

func (t *Trust) poke(m *nats.Msg) {
	t.tell(parseUint(m.Header, hdrSequence))
}

// tell has a look find what was written at seq, which a replica may not have yet.
func (t *Trust) tell(seq uint64) {
	t.learn(seq)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// learn notes that there is something up to seq.
func (t *Trust) learn(seq uint64) {
	for told := t.told.Load(); seq > told && !t.told.CompareAndSwap(told, seq); told = t.told.Load() {
	}
}

func (t *Trust) run(ctx context.Context) {
	clock := time.NewTimer(trustLook)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-clock.C:
		}
		wait := trustLook
		switch err := t.look(ctx); {
		case err != nil:
			t.fails(ctx, err)
		case t.told.Load() >= t.next:
			wait = trustBehind
		}
		clock.Reset(wait)
	}
}

// fails says once of an outage that what is known may be old.
func (t *Trust) fails(ctx context.Context, err error) {
	t.verified = time.Time{}
	if t.failing || ctx.Err() != nil {
		return
	}
	t.failing = true
	t.b.met.trustCurrent.Set(0)
	t.b.log.Warn("api keys and revocations cannot be read, the last known ones hold", slog.Any("err", err))
}

// look reads what is new and tells the listener.
func (t *Trust) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, trustWork)
	defer cancel()
	whole, err := t.verify(ctx)
	if err != nil {
		return err
	}
	from := t.next
	if whole {
		from = 1
	}
	list, next, err := t.since(ctx, from)
	if err != nil {
		return err
	}
	if whole {
		// All there is takes the place of what is known, so that it must be all.
		if list, next, err = t.complete(ctx, list, next); err != nil {
			return err
		}
	}
	t.apply(list, next, whole)
	if t.told.Load() >= t.next {
		list, next, err = t.lead(ctx, t.next)
		t.apply(list, next, false)
		if err != nil {
			return err
		}
	}
	if t.failing {
		t.failing = false
		t.b.log.Info("api keys and revocations are read again")
	}
	t.read = time.Now()
	t.b.met.trustCurrent.Set(1)
	return nil
}

// apply tells the listener what was read up to next, exclusively.
func (t *Trust) apply(list []fanout.TrustEntry, next uint64, whole bool) {
	if whole || len(list) > 0 {
		t.listener.Trusted(list, whole)
	}
	t.next = next
	t.anew = t.anew && !whole
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.applied != next-1 {
		t.applied = next - 1
		close(t.moved)
		t.moved = make(chan struct{})
	}
}

// verify reports whether everything must be read: at the start, where the bucket is
// another than the one that was read, and after an outage so long that what was removed
// meanwhile may have been forgotten. Now and then it learns from the leader how far the
// bucket goes.
func (t *Trust) verify(ctx context.Context) (whole bool, err error) {
	dials := t.b.ctl.dials.Load()
	if dials == t.dials && time.Since(t.verified) < trustVerify {
		return t.anew, nil
	}
	info, err := t.info(ctx)
	if err != nil {
		return false, err
	}
	if t.read.IsZero() || !info.Created.Equal(t.created) || info.State.Last+1 < t.next || time.Since(t.read) > trustGone-time.Hour {
		t.anew = true
		t.told.Store(0) // of another bucket, perhaps
	}
	t.created, t.dials, t.verified = info.Created, dials, time.Now()
	t.learn(info.State.Last)
	return t.anew, nil
}

// info is of the bucket's leader.
func (t *Trust) info(ctx context.Context) (*streamInfo, error) {
	info := &streamInfo{}
	if err := t.b.api(ctx, "STREAM.INFO."+migrations.TrustStream, infoRequest{}, info); err != nil {
		return nil, unavailable("look at "+migrations.TrustStream, err)
	}
	if info.Error != nil {
		return nil, unavailable("look at "+migrations.TrustStream, info.Error)
	}
	return info, nil
}

// complete appends what the replica that was asked does not have of what there is.
func (t *Trust) complete(ctx context.Context, list []fanout.TrustEntry, next uint64) ([]fanout.TrustEntry, uint64, error) {
	for t.told.Load() >= next {
		more, then, err := t.lead(ctx, next)
		if err != nil {
			return nil, next, err
		}
		if then == next && t.told.Load() >= next { // a leader that is new may not be as far yet
			if err := pause(ctx, trustBehind); err != nil {
				return nil, next, unavailable("read "+migrations.TrustStream, err)
			}
		}
		list, next = append(list, more...), then
	}
	return list, next, nil
}

// lead reads from the leader, from a sequence on, what a replica does not have: a node asks
// the one that is nearest, and nobody knows how long that may lag. What was read before an
// error counts.
func (t *Trust) lead(ctx context.Context, from uint64) (list []fanout.TrustEntry, next uint64, err error) {
	next = from
	for range trustLead {
		m, e, err := t.b.readLeading(ctx, migrations.TrustStream, getRequest{Seq: next, Next: migrations.TrustWildcard})
		switch {
		case err != nil:
			return list, next, unavailable("read "+migrations.TrustStream, err)
		case e != nil && e.ErrCode == codeNoMessage:
			return list, next, t.settle(ctx, next)
		case e != nil:
			return list, next, unavailable("read "+migrations.TrustStream, e)
		}
		next = m.seq + 1
		list = appendTrust(list, m)
	}
	return list, next, nil
}

// settle forgets that there should be something from next on where the leader has been
// further and nothing is left of it. A leader that is new may not be as far yet.
func (t *Trust) settle(ctx context.Context, next uint64) error {
	told := t.told.Load()
	info, err := t.info(ctx)
	if err == nil && info.State.Last >= told {
		t.told.CompareAndSwap(told, next-1)
	}
	return err
}

// appendTrust appends what a stored message says.
func appendTrust(list []fanout.TrustEntry, m stored) []fanout.TrustEntry {
	kind, name, err := migrations.SplitTrust(m.subject)
	if err != nil {
		return list // not ours
	}
	e := fanout.TrustEntry{Kind: kind, Name: name}
	if first(m.header, hdrKVOp) == "" { // else a tool has removed it
		e.Value = m.data
	}
	return append(list, e)
}

// since reads everything from a sequence on, of each entry the newest.
func (t *Trust) since(ctx context.Context, from uint64) (list []fanout.TrustEntry, next uint64, err error) {
	next = from
	for {
		req := getRequest{Seq: next, Next: migrations.TrustWildcard, Batch: batchMost, MaxBytes: batchBytes}
		call := &getCall{multi: true, done: make(chan struct{})}
		out, err := t.b.send(ctx, t.mux, apiPrefix+"DIRECT.GET."+migrations.TrustStream, req, call)
		if err != nil {
			return nil, from, unavailable("read "+migrations.TrustStream, err)
		}
		for _, m := range out.list {
			next = m.seq + 1
			list = appendTrust(list, m)
		}
		if out.pending == 0 || len(out.list) == 0 {
			return slices.Clip(list), next, nil
		}
	}
}

// Change writes an entry: change gets its value, empty where there is none, and returns
// the new one and how long it shall be kept; an empty one removes it. It may be called
// again, where another has written meanwhile, and its error is returned. When Change
// returns nil, this node has been told. Errors wrap fanout.ErrTrustFull or
// fanout.ErrUnavailable; after the latter it may be written all the same.
func (t *Trust) Change(ctx context.Context, kind, name string, change func(have []byte) (value []byte, ttl time.Duration, err error)) error {
	subject := migrations.TrustSubject(kind, name)
	for range tries {
		have, e, err := t.b.readLeading(ctx, migrations.TrustStream, getRequest{Last: subject})
		switch {
		case err != nil:
			return unavailable("read "+migrations.TrustStream, err)
		case e != nil && e.ErrCode != codeNoMessage:
			return unavailable("read "+migrations.TrustStream, e)
		case first(have.header, hdrKVOp) != "":
			have.data = nil
		}
		value, ttl, err := change(have.data)
		if err != nil {
			return err
		}
		m := &nats.Msg{Subject: subject, Data: value, Header: nats.Header{}}
		if len(value) == 0 {
			ttl = trustGone
		}
		if ttl > 0 { // at least a second, and rounded up: never gone before its time
			m.Header.Set(jetstream.MsgTTLHeader, strconv.FormatInt(int64((ttl+time.Second-1)/time.Second), 10)+"s")
		}
		seq, err := t.b.sessions.put(ctx, m, have.seq)
		switch {
		case errors.Is(err, errConflict):
			continue
		case errors.Is(err, fanout.ErrDiskFull):
			return fmt.Errorf("%w: %w", fanout.ErrTrustFull, err)
		case err != nil:
			return err
		}
		t.tell(seq)
		return t.reached(ctx, seq)
	}
	return fmt.Errorf("write %s: it changes all the time: %w", kind, fanout.ErrUnavailable)
}

// reached waits until the listener has what was written at seq.
func (t *Trust) reached(ctx context.Context, seq uint64) error {
	for {
		t.mu.Lock()
		done, moved := t.applied >= seq, t.moved
		t.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return unavailable("wait for what was written", ctx.Err())
		}
	}
}
