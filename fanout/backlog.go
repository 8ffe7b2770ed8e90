package fanout

import "slices"

// backlog is what a cursor must deliver outside the log's order or filter.
type backlog struct {
	// late messages of a loose pattern, found in the log after later ones were
	// delivered; before everything else.
	late []*Message
	// lateFrom: all up to here was handed over when the first of late came.
	lateFrom Position
	// proof is the number of the proof that the cursor waits for, 0 for none.
	proof uint64
	// held is what came live while a loose pattern's last read was under way.
	held     []*Message
	heldFrom uint64 // where the shard stood when the read was asked for
	overflow bool
	// Up to until, only messages of left are delivered: another subscription, which
	// ended, would have delivered them. What was stored after untilTime is none of what
	// lay there: the log was rolled back.
	left      []Channel
	until     uint64
	untilTime int64
	// told: of a pattern's channels, some lost messages up to here for their own
	// limit; the client knows.
	told uint64
	// had was delivered by other subscriptions of the client: patterns before this one
	// was announced, or one that ended.
	had []span
}

// span is the messages of filter with offsets above from up to to that were stored until a
// time: what a log that was rolled back holds there, stored later, is something else.
type span struct {
	filter   Channel
	from, to uint64
	time     int64
}

// addHad notes what was delivered. Past maxHad it forgets the oldest: a client that
// subscribes and unsubscribes without end rather gets a message twice.
func (b *backlog) addHad(s span) {
	const maxHad = 64
	for i := range b.had {
		if o := &b.had[i]; o.filter == s.filter && o.from == s.from {
			o.to, o.time = max(o.to, s.to), max(o.time, s.time)
			return
		}
	}
	if len(b.had) >= maxHad {
		b.had = slices.Delete(b.had, 0, 1)
	}
	b.had = append(b.had, s)
}

// addLeft notes whose messages are to be delivered up to until. Past maxBacklog it
// is everybody's that own matches: rather twice than not at all.
func (b *backlog) addLeft(filter, own Channel, until uint64, time int64) {
	switch {
	case slices.Contains(b.left, filter):
	case len(b.left) < maxBacklog:
		b.left = append(b.left, filter)
	default:
		b.left = []Channel{own}
	}
	b.until, b.untilTime = max(b.until, until), max(b.untilTime, time)
}

func (b *backlog) leavesOut(m *Message) bool {
	at := m.Offset()
	if at <= b.until && m.Position.Time <= b.untilTime && !anyMatches(b.left, m.Channel) {
		return true
	}
	return slices.ContainsFunc(b.had, func(s span) bool {
		return s.from < at && at <= s.to && m.Position.Time <= s.time && s.filter.Matches(m.Channel)
	})
}

// done reports whether nothing in it matters from offset on.
func (b *backlog) done(offset uint64) bool {
	return len(b.late) == 0 && offset >= b.until && offset >= b.told &&
		!slices.ContainsFunc(b.had, func(s span) bool { return offset < s.to })
}

// maxBacklog bounds each list of a backlog.
const maxBacklog = 256

func (c *cursor) backlog() *backlog {
	if c.behind == nil {
		c.behind = &backlog{}
	}
	return c.behind
}

// takeLate delivers a message that a loose pattern's feed had lost, unless the
// cursor has it from the log or will read it there.
func (c *cursor) takeLate(it *item) {
	at := it.m.Offset()
	switch {
	case at > c.pos.Offset:
		if c.state == cursorLive { // it joined by its own read and is behind the feed
			c.state = cursorCatchingUp
			c.step()
		} else if c.reading {
			c.backlog().overflow = true // the answer may be from before it: read again
		}
		return
	case at <= c.start, c.logged.holds(at):
		return
	}
	b := c.backlog()
	if len(b.late) == 0 {
		b.lateFrom = it.from
	}
	if len(b.late) == maxBacklog {
		b.late, c.logged = nil, nil
		c.state = cursorCatchingUp
		c.goBack(b.lateFrom) // rather twice than not at all
		c.step()
		return
	}
	b.late = append(b.late, it.m)
	c.flushLate()
}

// lateWaits reports whether a late message waits for room or for its turn.
func (c *cursor) lateWaits() bool { return c.behind != nil && len(c.behind.late) > 0 }

// flushLate reports whether no late message waits.
func (c *cursor) flushLate() bool {
	if c.behind == nil {
		return true
	}
	for len(c.behind.late) > 0 {
		if c.sub.client.blocked || !c.emit(c.behind.late[0]) {
			return false
		}
		c.behind.late = c.behind.late[1:]
	}
	return true
}

func (c *cursor) hold(m *Message) {
	b := c.backlog()
	if len(b.held) >= maxBacklog {
		b.overflow = true
		return
	}
	b.held = append(b.held, m)
}

// deliverHeld delivers what came while a loose pattern's read was under way, if the
// read, which others may have begun earlier, joins on to it.
func (c *cursor) deliverHeld(upTo Position) bool {
	b := c.behind
	if b == nil || len(b.held) == 0 {
		return true
	}
	held := b.held
	b.held = nil
	if b.overflow || max(upTo.Offset, c.pos.Offset) < b.heldFrom {
		return true // read again: pos is before the shard's
	}
	c.unproven = true
	for _, m := range held {
		if !c.deliver(m) {
			return false
		}
	}
	return true
}

func anyMatches(filters []Channel, c Channel) bool {
	for _, f := range filters {
		if f.Matches(c) {
			return true
		}
	}
	return false
}
