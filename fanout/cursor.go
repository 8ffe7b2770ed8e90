package fanout

import (
	"github.com/rivulet-rt/rivulet/protocol"
)

// cursorState is where a cursor stands between the log and the live feed.
//
//	        Subscribe
//	            |
//	start given | no start
//	     +------+--------+
//	     v               v
//	catching up <----> live
//
// catching up -> live: everything that the shard was handed has been delivered, or
// was handed over before a complete read began (the splice).
// live -> catching up: the sink has no room, or the shard left messages out.
// A gap moves a cursor to where the log begins and leaves its state as it is.
type cursorState uint8

const (
	cursorCatchingUp cursorState = iota
	cursorLive
)

// cursor is one subscription's place in one source: (source, last offset
// delivered). Every field is owned by the shard's goroutine.
type cursor struct {
	sub *subscription
	src *liveSource
	// pos: everything of the source up to here was delivered, or told to be gone.
	pos Position
	// start: delivery began behind this offset. A connection gets a message once: a
	// subscription leaves out what another one of the client delivers from there on.
	start uint64
	// born is where the shard stood when the subscription began: what was purged before is
	// no loss to who asked for what there is.
	born uint64
	// behind is set in the rare cases that need it.
	behind *backlog

	state   cursorState
	got     bool // a message was delivered
	begun   bool // it knows its pos: given, or found by the first read
	live    bool // it has reached live once
	ready   bool // it has told its subscription where it begins
	reading bool // a read is under way
	// distrust: the source told of a gap; only a read from then on may lead to live.
	distrust bool
	unproven bool // of a loose pattern: it was live since the log was read, see prove.go

	at    *shardSource // nil before it is attached and after it is detached
	index int          // in at.cursors

	// owed is a gap found by the log when the position to tell was not yet known.
	owed   string
	leftTo uint64 // the last message that a pattern of the client left to it
	// logged is for loose patterns, and nil before they have read the log.
	logged *logged
}

// message moves the live cursors of a source over one message.
func (ss *shardSource) message(it *item) {
	if it.late {
		ss.asides++
	} else {
		if it.offset.Offset <= ss.pos.Offset {
			return
		}
		ss.pos = it.offset
	}
	for _, c := range ss.cursors[:ss.awake] {
		c.message(it)
	}
}

// message moves a cursor over one message of its source, if it is live.
func (c *cursor) message(it *item) {
	switch {
	case it.late:
		c.takeLate(it)
	case c.state == cursorLive:
		c.follow(it)
	case c.reading && c.src.loose():
		c.hold(it.m)
	}
}

// follow moves a live cursor over the next message, if it is the next: a cursor
// that joined by its own read of the log may stand elsewhere than the feed.
func (c *cursor) follow(it *item) {
	prev := it.m.Prev
	if c.src.key.Filter.IsPattern() {
		prev = it.from.Offset
	}
	if prev > c.pos.Offset {
		c.state = cursorCatchingUp
		c.step()
		return
	}
	c.deliver(it.m)
}

// deliver moves the cursor over m and reports whether it could. A cursor that
// could not is catching up until its client has room.
func (c *cursor) deliver(m *Message) bool {
	if m.Offset() <= c.pos.Offset {
		return true
	}
	if !c.flushLate() || !c.emit(m) {
		c.fellBehind()
		return false
	}
	c.pos = m.Position
	return true
}

func (c *cursor) fellBehind() {
	if c.state == cursorLive {
		c.state = cursorCatchingUp
		if c.sub.client.blocked { // else it waits for its turn
			c.sub.client.shard.hub.metrics.fellBehind.Inc()
		}
	}
}

// emit hands m to the client, unless another of its subscriptions does, and
// reports whether it was taken.
func (c *cursor) emit(m *Message) bool {
	cl := c.sub.client
	if cl.blocked {
		return false
	}
	if c.leavesOut(m) {
		return true
	}
	switch m.Kind {
	case KindData:
		if r := c.sub.refine; r != nil {
			return r.emit(c, m)
		}
		return c.hand(m)
	case KindPurge:
		if m.Offset() <= c.born && (!c.got && c.sub.asked().open() || c.sub.snapshots()) {
			return true // it has nothing that could be gone
		}
		return cl.notify(Notice{Kind: NoticeGap, Channel: m.Channel, Positions: []Position{m.ResumeAt()}, Reason: protocol.ReasonPurged})
	case KindDeleted:
		return cl.notify(Notice{Kind: NoticeDeleted, Channel: m.Channel, Positions: []Position{m.ResumeAt()}, Target: m.Target})
	}
	return true
}

// hand gives m to the sink and reports whether it was taken.
func (c *cursor) hand(m *Message) bool {
	cl := c.sub.client
	cl.cork()
	if !cl.sink.Deliver(m) {
		cl.blocked = true
		return false
	}
	cl.shard.delivered++
	c.got = true
	return true
}

// leavesOut reports whether m is not this cursor's to deliver, or gone meanwhile.
func (c *cursor) leavesOut(m *Message) bool {
	if m.Offset() <= c.start || m.expired() {
		return true
	}
	if c.behind != nil && c.behind.leavesOut(m) {
		return true
	}
	return c.sub.client.patterns > 0 && c.sub.client.covers(c, m)
}

// gap restarts the live cursors that stood where the source stood when it was
// found: its proof is theirs. The others find out for themselves, by a read that
// begins from now on: they may have read past the hole, or hang behind it.
func (ss *shardSource) gap(it *item) {
	if it.seq > ss.caught {
		ss.pos = it.offset
	}
	ss.epoch++
	ss.asides++
	for _, c := range ss.cursors {
		if c.state == cursorLive && c.pos == it.from && !c.lateWaits() && c.tellGap(it.offset, it.gap.reason) {
			continue
		}
		c.state, c.distrust = cursorCatchingUp, true
		if c.unproven { // what is gone may lie before its place
			c.goBack(it.gap.base)
		}
		c.step()
	}
}

// tellGap moves the cursor to begin and says so, or does neither.
func (c *cursor) tellGap(begin Position, reason string) bool {
	ok := c.sub.client.notify(Notice{Kind: NoticeGap, Channel: c.sub.channel, Positions: []Position{begin}, Reason: reason})
	if ok && begin != c.pos {
		// Offsets from before mean nothing after it.
		c.pos, c.start, c.behind = begin, min(c.start, begin.Offset), nil
		c.born = min(c.born, begin.Offset)
		c.logged = nil
	}
	return ok
}

// step moves a catching-up cursor on: it goes live, replays from the ring, or asks
// the log. It does nothing while a read is under way or the client has no room; one that
// does not know yet where it begins finds that out all the same, since a notice still has
// room, and the client may wait for it before it reads on.
func (c *cursor) step() {
	c.sub.client.shard.solo = false // what follows may be many messages
	if c.at == nil || c.sub.client.blocked && c.ready || c.sub.client.closed || !c.flushLate() {
		return
	}
	if c.state == cursorLive || c.reading || c.awaitsProof() {
		return
	}
	if c.begun && !c.distrust && c.owed == "" && c.replay() {
		return
	}
	c.read()
}

// replay takes what follows from memory, if that can tell.
func (c *cursor) replay() bool {
	hub := c.sub.client.shard.hub
	var msgs []*Message
	var more, ok bool
	var upTo Position
	if c.sub.conflates() == ConflateNone {
		msgs, more, ok, upTo = c.src.replay(c.pos, hub.cfg.ReadBatch)
	} else {
		msgs, more, ok, upTo = c.src.replayView(c, c.sub.refine.batch(c.sub, hub.cfg.ReadBatch))
	}
	if !ok {
		return false
	}
	hub.metrics.readsRing.Inc()
	c.sub.begins(c, true, "")
	c.take(msgs, more, upTo, false)
	return true
}

// read asks the log for what follows pos, with proof that nothing is missing.
func (c *cursor) read() {
	if c.unproven && !c.prove() {
		return
	}
	hub := c.sub.client.shard.hub
	q := hub.queryAt(c.src.key, c.pos.Offset, c.pos)
	if !c.begun {
		q.Prove = Position{Stream: anyTag(), Offset: c.pos.Offset}
	}
	c.reading = true
	if c.src.loose() {
		b := c.backlog()
		b.held, b.overflow, b.heldFrom = nil, false, c.at.pos.Offset
	}
	epoch, asked := c.at.epoch, c.pos
	hub.reader.request(q, func(res readResult) {
		c.sub.client.shard.post(func() { c.answer(res, epoch, asked) })
	})
}

// answer takes what the log returned. The one judgement of completeness is here
// for cursors, and in liveSource.repairOnce for the feed.
func (c *cursor) answer(res readResult, epoch uint32, asked Position) {
	c.reading = false
	if c.at == nil || c.sub.client.closed {
		return
	}
	if res.err != nil {
		c.failed(res.err)
		return
	}
	if epoch != c.at.epoch || asked != c.pos {
		c.step() // read before a gap, or from elsewhere: proves nothing here
		return
	}
	c.distrust = false
	if !c.begun {
		c.begin(res)
		return
	}
	ok, reason := Complete(c.pos, res.Evidence)
	switch {
	case ok:
		c.sub.begins(c, true, "")
	case !c.lost(res, reason):
		return
	}
	c.take(res.Messages, res.More, res.upTo, true)
}

// take delivers a batch and decides what comes next. upTo is where the feed stood
// before the batch was read: a batch without more is complete up to there.
func (c *cursor) take(msgs []*Message, more bool, upTo Position, fromLog bool) {
	if !c.sub.announced {
		return // the last of the pattern's cursors to begin wakes the others
	}
	if !fromLog {
		c.unproven = c.unproven || c.src.loose() // what a loose pattern's view has is what came live
		for _, m := range msgs {
			if !c.deliver(m) {
				return
			}
		}
	} else if !c.takeLog(msgs) {
		return
	}
	if more {
		c.again()
		return
	}
	if !c.deliverHeld(upTo) {
		return
	}
	if end := c.at.pos.Offset; c.pos.Offset < end && upTo.Offset < end {
		c.again()
		return
	}
	c.goLive()
}

// takeLog delivers what was read from the log, and reports whether it could.
func (c *cursor) takeLog(msgs []*Message) bool {
	var left []bool
	if by := c.sub.conflates(); by != ConflateNone {
		left = outdated(by, msgs)
	}
	if c.src.loose() {
		c.beginLogged()
	}
	for i, m := range msgs {
		switch {
		case left != nil && left[i]:
			c.pass(m)
		case !c.deliver(m):
			return false
		}
		if c.logged != nil {
			c.logged.to = c.pos
		}
	}
	return true
}

// pass moves the cursor over a message that is outdated.
func (c *cursor) pass(m *Message) {
	if m.Offset() > c.pos.Offset {
		c.pos = m.Position
	}
}

// again lets others have their turn before the next batch.
func (c *cursor) again() {
	c.sub.client.shard.post(c.step)
}

// goLive is the splice.
func (c *cursor) goLive() {
	if !c.sub.tellCaughtUp(c) {
		return // the client has no room: the next step comes back here
	}
	c.state, c.unproven = cursorLive, c.src.loose()
	c.at.wake(c)
	if c.behind != nil && c.behind.done(c.pos.Offset) {
		c.behind = nil
	}
}

// failed ends a subscription that has not begun; another reads again later.
func (c *cursor) failed(err error) {
	if !c.sub.announced {
		c.sub.fail(err)
		return
	}
	s := c.sub.client.shard
	s.later(s.hub.cfg.RetryMost/4, c.step)
}
