package fanout

import "time"

// refinement is what one subscription leaves out beside what every other would: nil
// for most, which then pay a comparison for it.
type refinement struct {
	filter *Filter // nil: none
	held   bool    // it counts among the filter's users; guarded by the client's lock
	by     ConflateBy
	pace   pace
	// places of the cursors, in their order. Owned by the shard's goroutine.
	places []refinedPlace
}

// refinedPlace is of one cursor.
type refinedPlace struct {
	// told is the store time of the last message that brought the client a position.
	told int64
	// known is the last place that the client has heard of, by a message or otherwise:
	// what lies between it and the cursor was left out.
	known Position
}

// refined makes the refinement of a request, nil where it asks for none.
func refined(req *SubscribeRequest) *refinement {
	if req.Filter == nil && req.Conflate.By == ConflateNone {
		return nil
	}
	r := &refinement{filter: req.Filter, by: req.Conflate.By}
	if req.Conflate.MaxRate > 0 {
		r.pace.each = time.Second / time.Duration(req.Conflate.MaxRate)
	}
	return r
}

// admitRefinedLocked counts the subscription among its filter's users.
func (c *Client) admitRefinedLocked(r *refinement) error {
	if r.filter == nil {
		return nil
	}
	if c.tooManyFiltersLocked(r.filter) {
		return badInput("filter", "this connection has %d different filters, as many as it may; unsubscribe some", MaxFilters)
	}
	r.filter.Acquire()
	r.held = true
	return nil
}

func (r *refinement) releaseLocked() {
	if r.held {
		r.held = false
		r.filter.Release()
	}
}

// tellEvery bounds how far a position that the client knows lies behind its cursor
// where everything is left out, in time between messages.
const tellEvery = 5 * time.Second

// emit hands m, which is the cursor's next, to the client unless it is left out, and
// reports whether the cursor may move over it.
func (r *refinement) emit(c *cursor, m *Message) bool {
	if r.filter != nil && !r.filter.Passes(m) {
		r.leftOut(c, m)
		return true
	}
	paced := r.paced(c.sub)
	var now int64
	if paced {
		if now = c.sub.client.shard.now(); !r.pace.due(now) {
			c.sub.client.shard.await(c.sub)
			return false
		}
	}
	if !c.hand(m) {
		return false
	}
	if paced {
		r.pace.took(now)
	}
	if r.filter != nil {
		p := r.place(c)
		p.told, p.known = m.Position.Time, m.Position
	}
	return true
}

// paced reports whether a rate holds: it does once the subscription has caught up,
// since who comes shall have what there is at once.
func (r *refinement) paced(s *subscription) bool { return r.pace.each > 0 && s.replaying == 0 }

// batch is how many messages to take from memory at once: with a rate no more than may
// go in a turn.
func (r *refinement) batch(s *subscription, most int) int {
	if !r.paced(s) {
		return most
	}
	return min(most, 2+int(paceTick/r.pace.each))
}

// leftOut tells the client now and then how far its cursor has come without a message:
// it must not return to a place that the log has long forgotten.
func (r *refinement) leftOut(c *cursor, m *Message) {
	p := r.place(c)
	switch {
	case p.told == 0:
		p.told = m.Position.Time // the position that the subscription began with is as good
	case m.Position.Time-p.told >= int64(tellEvery):
		at := m.ResumeAt()
		c.sub.client.cork()
		if c.sub.client.sink.Notify(Notice{Kind: NoticePosition, Channel: c.sub.channel, Positions: []Position{at}, Prior: p.known}) {
			p.told, p.known = m.Position.Time, at
		}
	}
}

// begin notes where the cursors, which have been made, begin.
func (r *refinement) begin(s *subscription) {
	r.places = make([]refinedPlace, max(1, len(s.cursors)))
	s.each(func(c *cursor) bool {
		r.place(c).known = c.pos
		return true
	})
}

// prior is the last place up to which c has handed on what there was: whoever has dealt
// with that has dealt with everything before the cursor.
func (c *cursor) prior() Position {
	if r := c.sub.refine; r != nil && r.filter != nil {
		return r.place(c).known
	}
	return c.pos
}

func (r *refinement) place(c *cursor) *refinedPlace {
	for i, o := range c.sub.cursors {
		if o == c {
			return &r.places[i]
		}
	}
	return &r.places[0]
}
