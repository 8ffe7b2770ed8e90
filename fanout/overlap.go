package fanout

// What two subscriptions of one client have in common: each message comes once.

// skipHad makes a cursor that knows where it begins leave out what the client's
// patterns have delivered, up to an offset.
func (c *cursor) skipHad(upTo uint64) {
	for _, sub := range c.sub.client.active {
		if sub.refine != nil { // it has left out what nobody shall miss: rather twice
			continue
		}
		if sub == c.sub || !sub.channel.Matches(c.sub.channel) || c.sub.channel.IsPattern() {
			continue
		}
		o := sub.cursorOf(c.src.key.Stream)
		if o == nil || !o.begun {
			continue
		}
		to := o.pos.Offset
		if o.behind != nil {
			to = max(to, o.behind.until)
		}
		if to = min(to, upTo); to > max(c.start, o.start) {
			c.backlog().addHad(span{filter: sub.channel, from: o.start, to: to})
		}
	}
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
	if from.pos.Offset > from.start && from.sub.refine == nil {
		b.addHad(span{filter: from.sub.channel, from: from.start, to: from.pos.Offset})
	}
	if from.pos.Offset >= from.leftTo {
		return
	}
	b.addLeft(from.sub.channel, s.channel, max(c.pos.Offset, b.until))
	if from.pos.Offset < c.pos.Offset {
		c.pos, c.state = from.pos, cursorCatchingUp
		c.sub.client.shard.post(c.step)
	}
}
