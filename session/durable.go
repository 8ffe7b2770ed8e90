package session

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// DurableStore keeps durable sessions in the log. Errors are *fanout.LimitError, or wrap
// those of fanout.
type DurableStore interface {
	// Take makes client the owner of a session, which is made if there is none.
	Take(ctx context.Context, id fanout.SessionID, client string) (rec *fanout.SessionRecord, resumed bool, err error)
	// Save writes what has changed and brings rec up to date. The error wraps
	// fanout.ErrSuperseded where the session is another's now.
	Save(ctx context.Context, rec *fanout.SessionRecord, change fanout.SessionChange) error
	// StartOf is the position that says where a subscription begins.
	StartOf(ctx context.Context, c fanout.Channel, start fanout.Start) (fanout.Position, error)
	// At is the position of a stored message.
	At(ctx context.Context, c fanout.Channel, offset uint64) (fanout.Position, error)
}

// durable is the durable session that a connection has: what was acknowledged, and what
// of it is not written yet. It is bookkeeping; messages come from ordinary cursors.
//
//	     Take
//	      |
//	  acks move places, which are written every now and then
//	      |
//	+-----+-------------------------+
//	the connection ends,            another has it, found by a write that fails
//	or gives it up: released        |
//	      |                         |
//	      +---------- over ---------+   nothing is written any more
type durable struct {
	// Static after newDurable.
	all     *durables
	session *Session
	client  string
	id      fanout.SessionID

	// turn lets one write at a time use rec: it holds one token, from when the session is
	// taken.
	turn chan struct{}
	rec  *fanout.SessionRecord

	debt    debt         // of the connection's acks
	touchAt atomic.Int64 // when the session must say again that it is there, Unix nanoseconds

	mu     sync.Mutex // guards the following
	places []durablePlace
	queued bool // it waits to be written
	ended  bool // the connection is gone: release it
	over   bool
}

// durablePlace is the session's place in one channel.
type durablePlace struct {
	fanout.SessionChannel
	moved bool // since it was written
	// token is of the connection's subscription to the channel, 0 where it had none.
	token uint64
	how   durability
}

// durability is how a subscription belongs to the connection's durable session.
type durability uint8

const (
	passing   durability = iota // it does not
	begun                       // it is new to the session, and begins in the log
	begunLive                   // it is new to the session, and live from now
	continued                   // it goes on where the session stands
)

// newDurable makes one that is not taken yet: whoever wants it given up waits until it is.
func newDurable(all *durables, s *Session, client string, id fanout.SessionID) *durable {
	d := &durable{all: all, session: s, client: client, id: id, turn: make(chan struct{}, 1)}
	d.touchAt.Store(math.MaxInt64)
	return d
}

// taken begins to write, or where it was not taken, never does.
func (d *durable) taken(rec *fanout.SessionRecord, err error) {
	if err != nil {
		d.giveUp()
		d.turn <- struct{}{}
		return
	}
	d.mu.Lock()
	d.rec = rec
	for _, k := range rec.Channels {
		d.places = append(d.places, durablePlace{SessionChannel: k})
	}
	d.written()
	d.mu.Unlock()
	d.turn <- struct{}{}
}

// written notes when the session must be heard of again.
func (d *durable) written() { d.touchAt.Store(d.rec.Seen.Add(d.rec.TTL / touchShare).UnixNano()) }

// touchShare: a session is written so often, at least, before it would expire.
const touchShare = 4

func (d *durable) findLocked(c fanout.Channel) *durablePlace {
	i := slices.IndexFunc(d.places, func(p durablePlace) bool { return p.Channel == c })
	if i < 0 {
		return nil
	}
	return &d.places[i]
}

// place is where the session stands in a channel; ok is false where it has no place.
func (d *durable) place(c fanout.Channel) (k fanout.SessionChannel, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.findLocked(c)
	if p == nil {
		return k, false
	}
	return p.SessionChannel, true
}

// bind notes which subscription is that of a place.
func (d *durable) bind(c fanout.Channel, token uint64, how durability) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.findLocked(c); p != nil {
		p.token, p.how = token, how
	}
}

// durability is that of the subscription which token stands for.
func (d *durable) durability(c fanout.Channel, token uint64) durability {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.findLocked(c); p != nil && token != 0 && p.token == token {
		return p.how
	}
	return passing
}

// acked moves a place on, and returns up to where it is acknowledged. What lies behind
// it changes nothing, unless the log was another one then: now is where the cursor
// stands, in the log of today.
func (d *durable) acked(c fanout.Channel, to, now fanout.Position) (fanout.Position, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.findLocked(c)
	if p == nil {
		return fanout.Position{}, false
	}
	renewed := p.Position.Stream != now.Stream && to.Stream == now.Stream
	if renewed && to != p.Position || to.Offset > p.Position.Offset || p.Reset {
		p.Position, p.moved, p.Reset = to, true, false
		d.queueLocked()
	} else {
		d.debt.add() // it told nothing that is new
	}
	return p.Position, true
}

// fresher moves the place in a quiet channel to a fresher position, if everything before
// it was acknowledged: an old one could not be judged any more some day. A place that is
// lost says nothing of what was.
func (d *durable) fresher(n fanout.Notice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.findLocked(n.Channel)
	if p != nil && !n.Prior.IsZero() && p.Position.Stream == n.Prior.Stream && p.Position.Offset >= n.Prior.Offset && !p.Reset {
		p.Position, p.moved = n.Positions[0], true
		d.queueLocked()
	}
}

func (d *durable) queueLocked() {
	if !d.queued && !d.over {
		d.queued = true
		d.all.enqueue(d)
	}
}

// add begins to keep a place; it is in the log when add returns.
func (d *durable) add(ctx context.Context, c fanout.Channel, at fanout.Position) error {
	k := fanout.SessionChannel{Channel: c, Position: at}
	if err := d.save(ctx, fanout.SessionChange{Added: []fanout.SessionChannel{k}}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.places = append(d.places, durablePlace{SessionChannel: k})
	return nil
}

// remove gives a place up.
func (d *durable) remove(ctx context.Context, c fanout.Channel) error {
	if err := d.save(ctx, fanout.SessionChange{Removed: []fanout.Channel{c}}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.places = slices.DeleteFunc(d.places, func(p durablePlace) bool { return p.Channel == c })
	return nil
}

// save writes a change, and with it whatever has moved. Where it finds that the session
// is another's, the connection is told and closed.
func (d *durable) save(ctx context.Context, change fanout.SessionChange) error {
	select {
	case <-d.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { d.turn <- struct{}{} }()
	d.mu.Lock()
	if d.over {
		d.mu.Unlock()
		return fanout.ErrSuperseded
	}
	d.queued = false
	for _, p := range d.places {
		if p.moved {
			change.Moved = append(change.Moved, p.SessionChannel)
		}
	}
	d.mu.Unlock()
	err := d.all.store.Save(ctx, d.rec, change)
	d.all.met.saved(err)
	d.settle(change, err)
	if errors.Is(err, fanout.ErrSuperseded) {
		d.session.Disconnect(yieldEvent(fanout.YieldTaken))
	}
	return err
}

// settle notes what has become of a write.
func (d *durable) settle(change fanout.SessionChange, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case errors.Is(err, fanout.ErrSuperseded):
		d.over = true
	case err != nil:
		if len(change.Moved) > 0 {
			d.queueLocked() // with the rest, later
		}
	default:
		d.over = d.over || change.Release
		d.written()
		for _, m := range change.Moved {
			if p := d.findLocked(m.Channel); p != nil && p.Position == m.Position {
				p.moved = false
			}
		}
	}
	if d.over {
		d.all.remove(d)
	}
}

// release writes what is unwritten and gives the session up.
func (d *durable) release(ctx context.Context) error {
	err := d.save(ctx, fanout.SessionChange{Release: true})
	if errors.Is(err, fanout.ErrSuperseded) {
		return nil // it is over, one way or the other
	}
	return err
}

// end has the session released soon: its connection has ended.
func (d *durable) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ended && !d.over {
		d.ended = true
		d.all.release(d)
	}
}

// yieldEvent is what a connection is told that loses its session.
func yieldEvent(why fanout.YieldReason) protocol.DisconnectEvent {
	switch why {
	case fanout.YieldReset:
		return protocol.DisconnectEvent{
			Code: protocol.CloseDraining, Reason: "the durable session was reset; come back to go on", Reconnect: true,
		}
	case fanout.YieldDeleted:
		ev := disconnect(protocol.CloseSuperseded)
		ev.Reason = "the durable session was deleted; connect again to begin a new one"
		return ev
	case fanout.YieldTaken:
	}
	return disconnect(protocol.CloseSuperseded)
}

// touch reports whether the session must say that it is there.
func (d *durable) touch(now time.Time) bool { return now.UnixNano() >= d.touchAt.Load() }
