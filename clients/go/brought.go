package rivulet

import (
	"maps"
	"slices"

	"github.com/rivulet-rt/rivulet/protocol"
)

// This file is about subscriptions that the token names and nobody asked for (clause P-17.4).
// One that overlaps with others would take messages from them, before they have begun and
// while they are paused too, and nobody knows where it is: the client lets go of it, and has
// the others begin anew where they were before it.

// brings notes that there is such a subscription on l.
func (c *Client) brings(l *link, e *protocol.SubscribedEvent) {
	channel := canonical(e.Channel)
	l.brought[channel] = struct{}{}
	l.line.add(channel, isPattern(channel))
	c.partWith(l, channel)
}

// meets lets go of those that overlap with s, which has just begun on l.
func (c *Client) meets(l *link, s *Subscription) {
	for name := range l.brought {
		if overlapping(name, s.channel) {
			c.partWith(l, name)
		}
	}
}

// partWith lets go of one at the node, and of all that overlap with it, if any do. They are
// taken up again when the node has let go of it as well.
func (c *Client) partWith(l *link, channel string) {
	c.mu.Lock()
	h := &hold{members: c.besideLocked(channel)}
	if c.link != l || len(h.members) == 0 {
		c.mu.Unlock()
		return
	}
	c.holds[h] = struct{}{}
	_, asked := c.leaving[channel]
	_, joined := c.groups[channel] // takes its place
	c.leaving[channel] = struct{}{}
	known := c.pauseLocked(h, l)
	c.mu.Unlock()
	if !asked && !joined {
		// If it does not go out, the link is gone, and detach does the rest.
		_ = c.unsubscribe(l, channel, func() { c.parted(l, channel) })
	}
	for _, m := range known {
		m.letGoFor(l)
	}
}

// parted notes that there is no such subscription on l any more, if there was one.
func (c *Client) parted(l *link, channel string) {
	if _, was := l.brought[channel]; !was {
		return
	}
	delete(l.brought, channel)
	c.mu.Lock()
	_, asked := c.leaving[channel]
	delete(c.leaving, channel)
	holds := slices.Collect(maps.Keys(c.holds))
	c.mu.Unlock()
	for _, h := range holds {
		if asked {
			h.resume(c)
		}
	}
}

// besideLocked returns what overlaps with a name, directly or through others, and then the
// subscription to that very name, too.
func (c *Client) besideLocked(name string) map[*Subscription]bool {
	group := map[*Subscription]bool{}
	for _, s := range c.subscriptionsLocked() {
		if overlapping(name, s.channel) && s.channel != name {
			maps.Copy(group, c.overlappingLocked(s))
		}
	}
	if same := c.find(name); same != nil && len(group) > 0 {
		group[same] = true
	}
	return group
}

// partingLocked reports whether one is being let go of that would take messages from a member.
func (h *hold) partingLocked(c *Client) bool {
	for name := range c.leaving {
		for m := range h.members {
			if alike(name, m.channel) {
				return true
			}
		}
	}
	return false
}
