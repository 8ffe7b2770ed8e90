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
	asked := c.leaving[channel]
	_, joined := c.groups[channel] // takes its place
	c.leaving[channel] = asked || !joined
	known := c.pauseLocked(h, l)
	c.mu.Unlock()
	if !asked && !joined {
		c.unbring(l, channel)
	}
	for _, m := range known {
		m.letGoFor(l)
	}
}

func (c *Client) unbring(l *link, channel string) {
	// If it does not go out, the link is gone, and detach does the rest.
	_ = c.unsubscribe(l, channel, func() {
		delete(l.brought, channel)
		c.left(channel)
	})
}

// keepParting lets go of one whose place a group did not take, if others wait for that.
func (c *Client) keepParting(l *link, channel string) {
	if _, brought := l.brought[channel]; !brought {
		return
	}
	c.mu.Lock()
	asked, waits := c.leaving[channel]
	if waits {
		c.leaving[channel] = true
	}
	c.mu.Unlock()
	if waits && !asked {
		c.unbring(l, channel)
	}
}

// parted notes that there is no such subscription on l any more, if there was one. Where an
// unsubscribe is under way, which may be sent again, its answer brings the rest: it would be
// the end of another of that name.
func (c *Client) parted(l *link, channel string) {
	if _, was := l.brought[channel]; !was {
		return
	}
	c.mu.Lock()
	asked := c.leaving[channel]
	c.mu.Unlock()
	if !asked {
		delete(l.brought, channel)
		c.left(channel)
	}
}

// left takes up what waited for the end of another.
func (c *Client) left(channel string) {
	c.mu.Lock()
	delete(c.leaving, channel)
	holds := slices.Collect(maps.Keys(c.holds))
	c.mu.Unlock()
	for _, h := range holds {
		h.resume(c)
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
