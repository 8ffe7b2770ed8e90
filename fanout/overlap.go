package fanout

import "slices"

// What two subscriptions of one client have in common: each message comes once.

// takePlace puts a subscription that was just announced behind all that were before:
// whose a message is goes by that order, the only one that the client knows too. What
// the client's patterns have delivered meanwhile, the subscription leaves out.
func (s *subscription) takePlace() {
	c := s.client
	n := slices.IndexFunc(c.active, func(o *subscription) bool { return o == s || !o.announced })
	i := n + slices.Index(c.active[n:], s)
	copy(c.active[n+1:i+1], c.active[n:i])
	c.active[n] = s
	s.each(func(cur *cursor) bool { cur.skipHad(); return true })
}

// skipHad makes the cursor of a channel leave out what the client's patterns have
// delivered.
func (c *cursor) skipHad() {
	theirs := uint64(maxOffset)
	for _, sub := range c.sub.client.active {
		theirs = c.skipOf(sub, theirs)
	}
}

// skipOf does so for one pattern, as far as messages up to an offset were not left to
// one that was announced before it. It returns up to where they are not left to this one
// either.
func (c *cursor) skipOf(sub *subscription, upTo uint64) uint64 {
	if sub == c.sub || c.sub.channel.IsPattern() || !sub.announced || !sub.channel.Matches(c.sub.channel) {
		return upTo
	}
	o := sub.cursorOf(c.src.key.Stream)
	if o == nil {
		return upTo
	}
	// What is refined has left out what nobody shall miss: rather twice.
	if to := min(o.hadOf(c.sub.channel), upTo); c.begun && o.begun && sub.refine == nil && to > max(c.start, o.start) {
		c.backlog().addHad(span{filter: sub.channel, from: o.start, to: to, time: o.hadTime()})
	}
	return min(upTo, o.start)
}

// hadOf is up to where a pattern's cursor has delivered all of a channel that was its
// own: rather less than too much.
func (c *cursor) hadOf(channel Channel) uint64 {
	if b := c.behind; b != nil && b.until > c.pos.Offset && !c.unproven && len(b.late) == 0 && !anyMatches(b.left, channel) {
		return b.until
	}
	return c.hadAll()
}

// hadAll is up to where a cursor has delivered all that was its own: rather less than too
// much.
func (c *cursor) hadAll() uint64 {
	to := c.pos.Offset
	if c.unproven {
		to = min(to, c.src.handed(c.at.asides))
	}
	if b := c.behind; b != nil && len(b.late) > 0 {
		to = min(to, b.lateFrom.Offset)
	}
	return to
}

// hadTime is no earlier than when the last that the cursor was handed was stored.
func (c *cursor) hadTime() int64 {
	if c.behind != nil {
		return max(c.pos.Time, c.behind.untilTime)
	}
	return c.pos.Time
}

// hadWhenEnded is up to where the client has all of a cursor's filter when its
// subscription has ended: not what it had left to others who still owe it.
func (c *cursor) hadWhenEnded() uint64 {
	to := c.hadAll()
	if !c.sub.channel.IsPattern() {
		return to
	}
	for _, sub := range c.sub.client.active {
		if o := sub.cursorOf(c.src.key.Stream); o != nil && o.begun && o.leftTo > o.pos.Offset && (sub.channel.IsPattern() || c.sub.channel.Matches(sub.channel)) {
			to = min(to, o.hadAll())
		}
	}
	return to
}

// takeOver keeps a pattern's cursor exact when a subscription ends to which it left
// messages: it leaves out what that one had delivered, and goes back to where that
// one stood to deliver only what it would have delivered.
func (s *subscription) takeOver(from *cursor) {
	if !s.channel.IsPattern() || !from.begun || !from.sub.channel.IsPattern() && !s.channel.Matches(from.sub.channel) {
		return
	}
	c := s.cursorOf(from.src.key.Stream)
	if c == nil || !c.begun || from.leftTo == 0 && from.pos.Offset <= c.pos.Offset {
		return // nothing was left to it, and what it had lies behind
	}
	b := c.backlog()
	if to := from.hadWhenEnded(); to > from.start && from.sub.refine == nil {
		b.addHad(span{filter: from.sub.channel, from: from.start, to: to, time: from.hadTime()})
	}
	if from.pos.Offset >= from.leftTo {
		return
	}
	b.addLeft(from.sub.channel, s.channel, max(c.pos.Offset, b.until), c.hadTime())
	if from.pos.Offset < c.pos.Offset {
		c.pos, c.state = from.pos, cursorCatchingUp
		c.sub.client.shard.post(c.step)
	}
}
