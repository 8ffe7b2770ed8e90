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
	// If it does not go out the link is gone, and the next one asks again.
	_, _ = l.send(nil, &protocol.Command{ID: id, Subscribe: c})
}

// answered takes the reply to a subscribe. It runs in the read loop.
func (g *Group) answered(l *link, e *protocol.Event) {
	if e.Error != nil {
		g.refused(l, errorFrom(e.Error))
		return
	}
	if e.Subscribed == nil {
		g.end(errUnexpectedReply)
		return
	}
	if !g.begin(l, e.Subscribed) { // nobody wants it any more
		id := l.expect(func(*protocol.Event) {})
		_, _ = l.send(nil, &protocol.Command{ID: id, Unsubscribe: &protocol.UnsubscribeCommand{Channel: g.channel}})
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
		g.gaps = append(g.gaps, &GapError{Channel: g.channel, Reason: e.Reason})
		notify(g.avail)
	case g.started && !e.Resumed: // it was deleted, or expired, and begins anew
		g.gaps = append(g.gaps, &GapError{Channel: g.channel, Reason: protocol.ReasonLogChanged})
		notify(g.avail)
	}
	if !g.started {
		g.started = true
		close(g.began)
	}
	return true
}

// refused tries again later, or ends the membership.
func (g *Group) refused(l *link, err *Error) {
	if !err.Temporary && !err.Code.Resubscribe() {
		g.end(err)
		return
	}
	g.mu.Lock()
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
	const most = 16 // that wait: they all say the same
	if len(g.gaps) < most {
		g.gaps = append(g.gaps, &GapError{Channel: g.channel, Reason: e.Reason, Positions: allPositions(e.Position, nil)})
	}
	notify(g.avail)
}

// closed takes an `unsubscribed` that nobody asked for.
func (g *Group) closed(l *link, e *protocol.UnsubscribedEvent) {
	code := e.Code
	if code == 0 {
		code = protocol.ErrorRevoked
	}
	g.refused(l, &Error{Code: code, Message: e.Reason, Temporary: code.Temporary(), Remedy: remedy(code)})
}

// end ends the membership and returns where the node knows of it, nil if nowhere.
func (g *Group) end(err error) *link {
	g.client.mu.Lock()
	if g.client.groups[g.channel] == g {
		delete(g.client.groups, g.channel)
	}
	g.client.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return nil
	}
	l := g.link
	g.ended, g.err, g.link, g.jobs = true, err, nil, nil
	close(g.done)
	return l
}
