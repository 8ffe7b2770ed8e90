package rivulet

import (
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// This file is a group's side of the wire.

// ask asks for the membership on l, which may be nil, unless that was done.
func (g *Group) ask(l *link) {
	g.mu.Lock()
	if l == nil || g.ended || g.asked == l || g.link == l {
		g.mu.Unlock()
		return
	}
	g.asked, g.link = l, nil
	c := &protocol.SubscribeCommand{
		Channel: g.channel, Group: g.name, MaxInFlight: g.opts.MaxInFlight, Position: g.opts.Position, Last: g.opts.Last,
	}
	if !g.opts.Since.IsZero() {
		c.Since = g.opts.Since.UnixMilli()
	}
	g.mu.Unlock()
	id := l.expect(func(e *protocol.Event) { g.answered(l, e) })
	// If the link is gone, the next one asks again.
	if _, err := l.send(nil, &protocol.Command{ID: id, Subscribe: c}); err != nil {
		if e, ok := err.(*Error); ok { //nolint:errorlint // send returns it unwrapped
			l.giveUp(id)
			g.fail(e)
		}
	}
}

// answered takes the reply to a subscribe. It runs in the read loop.
func (g *Group) answered(l *link, e *protocol.Event) {
	if e.Error != nil {
		g.client.keepParting(l, g.channel)
		g.refused(l, errorFrom(e.Error))
		return
	}
	g.client.parted(l, g.channel) // its place is taken
	if e.Subscribed == nil {
		g.fail(errUnexpectedReply)
		return
	}
	if !g.begin(l, e.Subscribed) { // nobody wants it any more
		g.letGo(l)
	}
}

// begin takes up the membership on l, unless it has ended.
func (g *Group) begin(l *link, e *protocol.SubscribedEvent) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	g.asked, g.link, g.failures = nil, l, 0
	g.wait = time.Duration(e.AckWaitMS) * time.Millisecond
	g.jobs = nil // of an earlier link: other members have them
	switch {
	case !e.Recovered:
		g.tellLocked(&GapError{Channel: g.channel, Reason: e.Reason})
	case g.started && !e.Resumed: // it was deleted, or expired, and begins anew
		g.tellLocked(&GapError{Channel: g.channel, Reason: protocol.ReasonLogChanged})
	}
	if !g.started {
		g.started = true
		close(g.began)
	}
	return true
}

// refused tries again later, or ends the membership.
func (g *Group) refused(l *link, err *Error) {
	g.mu.Lock()
	over := g.ended || !err.Temporary && !err.Code.Resubscribe()
	if over {
		g.mu.Unlock()
		g.fail(err)
		return
	}
	if g.asked == l {
		g.asked = nil
	}
	if g.link == l {
		g.link = nil
	}
	g.failures++
	wait := g.client.opts.Backoff.wait(g.failures, err.RetryAfter)
	g.mu.Unlock()
	g.client.after(wait, func() { g.ask(g.client.current()) })
}

// deliver takes a message of the group. It runs in the read loop.
func (g *Group) deliver(l *link, m *Message, e *protocol.MessageEvent) {
	g.queue(l, m, e)
	g.keepLater()
}

// queue does not wait: the node sends no more than MaxInFlight that are not settled, and
// what is older than the newest so many was not settled in time.
func (g *Group) queue(l *link, m *Message, e *protocol.MessageEvent) {
	most := g.opts.MaxInFlight
	if most == 0 {
		most = protocol.DefaultInFlight
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended || g.link != l {
		return
	}
	if len(g.jobs) >= most {
		g.jobs = g.jobs[1:]
	}
	now := time.Now()
	g.jobs = append(g.jobs, &queued{
		Job: &Job{Message: m, Attempt: e.Attempt, group: g, link: l, token: e.AckToken}, came: now, begun: now,
	})
	notify(g.avail)
}

// lost takes word of messages that no member had.
func (g *Group) lost(e *protocol.GapEvent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tellLocked(&GapError{Channel: g.channel, Reason: e.Reason, Positions: allPositions(e.Position, nil)})
}

func (g *Group) tellLocked(gap *GapError) {
	const most = 16 // that wait: they all say the same
	if len(g.gaps) < most {
		g.gaps = append(g.gaps, gap)
	}
	notify(g.avail)
}

// closed takes an `unsubscribed` that nobody asked for.
func (g *Group) closed(l *link, e *protocol.UnsubscribedEvent) {
	g.mu.Lock()
	ours := g.link == l
	g.mu.Unlock()
	if !ours {
		return
	}
	code := e.Code
	if code == 0 {
		code = protocol.ErrorRevoked
	}
	g.refused(l, &Error{Code: code, Message: e.Reason, Temporary: code.Temporary(), Remedy: remedy(code)})
}

// leave ends the membership for a reason of the application's, and has the node let go.
func (g *Group) leave(err error) {
	if l := g.end(err); l != nil {
		g.letGo(l)
	}
}

// letGo unsubscribes a membership that has ended, and removes it when the node has let go:
// until then, the node takes it for one and sends it jobs.
func (g *Group) letGo(l *link) {
	if g.client.unsubscribe(l, g.channel, g.remove) != nil && l.isOver() {
		g.remove() // else detach does: what the link still brings may be the group's
	}
}

// fail ends the membership, of which the node does not know any more.
func (g *Group) fail(err error) {
	g.end(err)
	g.remove()
}

// detach notes that the link is lost: what has ended is over.
func (g *Group) detach() {
	g.mu.Lock()
	ended := g.ended
	g.mu.Unlock()
	if ended {
		g.remove()
	}
}

// end ends the membership and returns where the node knows of it, for it to let go there,
// nil if nowhere. Where the node is still to answer, the answer brings the rest.
func (g *Group) end(err error) *link {
	g.mu.Lock()
	if g.ended {
		g.mu.Unlock()
		return nil
	}
	l := g.link
	waits := g.asked != nil && !g.asked.isOver()
	g.ended, g.err, g.link, g.jobs = true, err, nil, nil
	close(g.done)
	g.mu.Unlock()
	if l == nil && !waits {
		g.remove()
	}
	return l
}

// remove frees the channel.
func (g *Group) remove() {
	c := g.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.groups[g.channel] == g {
		delete(c.groups, g.channel)
		close(g.removed)
	}
}
