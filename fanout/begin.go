package fanout

import "github.com/rivulet-rt/rivulet/protocol"

// begin gives a cursor that started at an offset its position.
func (c *cursor) begin(res readResult) {
	p, found := locate(c.pos.Offset, res.Batch)
	if !found {
		p = res.upTo // nothing follows: what the feed had handed over before the read is as good
	}
	if p.IsZero() {
		c.again() // the read was begun for an earlier subscriber of the channel
		return
	}
	if c.owed != "" && !c.sub.announced {
		reason := c.owed
		c.begun, c.owed = true, ""
		if c.beginAnew(res.Evidence.Begin, reason) {
			c.take(res.Messages, res.More, res.upTo, true)
		}
		return
	}
	if c.owed != "" {
		if !c.tellGap(p, c.owed) {
			return // asked again when there is room
		}
		c.owed = ""
	}
	c.pos, c.begun, c.start = p, true, p.Offset
	if c.sub.announced {
		c.skipHad()
	}
	c.sub.begins(c, true, "")
	c.take(res.Messages, res.More, res.upTo, true)
}

// lost tells the client that history is gone, and reports whether the messages of
// res follow on where delivery goes on.
func (c *cursor) lost(res readResult, reason string) bool {
	if c.sub.announced && !c.flushLate() {
		return false // asked again when there is room
	}
	hub := c.sub.client.shard.hub
	hub.metrics.gaps.WithLabelValues(reason).Inc()
	if !c.sub.announced {
		// A resume: the client gets what there is.
		begin := res.Evidence.Begin
		if reason != protocol.ReasonLogChanged {
			begin = restart(c.pos, reason, res.Batch)
		}
		return c.beginAnew(begin, reason)
	}
	if reason == protocol.ReasonLogChanged && c.src.loose() {
		c.src.mu.Lock()
		floor := c.src.floor // everything after it again: rather twice than not at all
		c.src.mu.Unlock()
		if c.tellGap(floor, reason) {
			c.again()
		}
		return false
	}
	if reason == protocol.ReasonLogChanged {
		c.pos, c.begun, c.owed = Position{Offset: newerThan(res.Evidence)}, false, reason
		c.read()
		return false
	}
	begin := restart(c.pos, reason, res.Batch)
	until := lostUntil(begin, res.Evidence)
	if begin == c.pos && c.behind != nil && until <= c.behind.told {
		return true
	}
	if !c.tellGap(begin, reason) {
		return false
	}
	if until > 0 {
		c.backlog().told = until
	}
	return true
}

// beginAnew has a subscription whose history is gone begin at another place, and reports
// whether what was read follows on that. If not, it reads on.
func (c *cursor) beginAnew(begin Position, reason string) bool {
	reread := begin.Offset < c.pos.Offset
	c.pos, c.start, c.born = begin, begin.Offset, min(c.born, begin.Offset)
	c.sub.begins(c, false, reason)
	if reread {
		c.step()
	}
	return !reread
}

// mayLack reports whether a conflated cursor, whose place the log still has, may lack what
// lies before it: the log has got another epoch since, because it was rolled back or is a
// copy, and what outdated the messages that were left out may be gone with that. Who is to
// begin with the newest of each key has left out nothing yet.
func (c *cursor) mayLack(ev Evidence) bool {
	return c.sub.conflates() != ConflateNone && ev.Tag != c.pos.Stream && (c.sub.announced || !c.sub.snapshots())
}

// doubt says so, and reports whether delivery goes on from the cursor's place. A resume
// begins with what there is.
func (c *cursor) doubt(ev Evidence) bool {
	const reason = protocol.ReasonLogChanged
	if !c.sub.announced { // the evidence may lack where the log begins
		c.pos, c.begun, c.owed = Position{Offset: c.pos.Offset}, false, reason
		c.read()
		return false
	}
	if !c.flushLate() || !c.tellGap(Position{Stream: ev.Tag, Offset: c.pos.Offset, Time: c.pos.Time}, reason) {
		return false // asked again when there is room
	}
	c.sub.client.shard.hub.metrics.gaps.WithLabelValues(reason).Inc()
	return true
}
