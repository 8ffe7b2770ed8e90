package fanout

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// crowd is a set of connections that knows how many users they are of.
type crowd struct {
	members map[ClientID]attendee
	users   map[uint64]int32 // connections, by userKey
}

// attendee is a connection in a crowd; member is nil where only its user is known.
type attendee struct {
	user   uint64
	member *Member
}

func newCrowd() crowd {
	return crowd{members: make(map[ClientID]attendee), users: make(map[uint64]int32)}
}

// add puts a connection in, in place of what was known of it.
func (c *crowd) add(id ClientID, a attendee) {
	c.remove(id)
	c.members[id] = a
	if a.user != 0 {
		c.users[a.user]++
	}
}

func (c *crowd) remove(id ClientID) (a attendee, was bool) {
	a, was = c.members[id]
	if !was {
		return a, false
	}
	delete(c.members, id)
	if a.user != 0 {
		if c.users[a.user]--; c.users[a.user] == 0 {
			delete(c.users, a.user)
		}
	}
	return a, true
}

// roster is what a node knows of a channel's members: its own ones, and, where one of
// its clients watches, a view of all nodes'. All methods but work want mu to be held.
type roster struct {
	// Static.
	p       *Presence
	channel Channel

	mu    sync.Mutex // guards the following
	local crowd
	// changed since the last announcement: true for joined, false for left.
	changed    map[ClientID]bool
	seq        uint64    // of the last announcement; 0 before the first
	announceAt time.Time // not before
	unsent     bool      // the last announcement may not have left
	view       *view     // nil unless somebody watches
}

func newRoster(p *Presence, c Channel) *roster {
	return &roster{p: p, channel: c, local: newCrowd()}
}

// empty reports whether the roster can go.
func (r *roster) empty() bool {
	return len(r.local.members) == 0 && len(r.changed) == 0 && r.view == nil && !r.unsent
}

func (r *roster) join(m *Member) {
	a := attendee{userKey(m.User), m}
	edge := len(r.local.members) == 0
	r.local.add(m.Client, a)
	r.p.metrics.members.Inc()
	r.p.observe(observation{channel: r.channel, member: m, joined: true, edge: edge})
	if r.view != nil {
		r.view.add(m.Client, a)
	}
	r.change(m.Client, true)
}

func (r *roster) leave(id ClientID) {
	a, was := r.local.remove(id)
	if !was {
		return
	}
	r.p.metrics.members.Dec()
	r.p.observe(observation{channel: r.channel, member: a.member, edge: len(r.local.members) == 0})
	if r.view != nil {
		r.view.remove(id)
	}
	r.change(id, false)
}

// change notes what is to be told to others.
func (r *roster) change(id ClientID, joined bool) {
	if r.p.bus != nil {
		if r.changed == nil {
			r.changed = make(map[ClientID]bool)
		}
		r.changed[id] = joined
	}
	if r.p.bus != nil || r.view != nil || r.empty() {
		r.p.touch(r)
	}
}

// watch has a client told of changes.
func (r *roster) watch(c *Client) {
	if r.view == nil {
		r.view = newView(r)
		for id, a := range r.local.members {
			r.view.add(id, a)
		}
	}
	r.view.watchers[c] = &watcher{client: c, fresh: true}
	r.p.touch(r)
}

func (r *roster) unwatch(c *Client) {
	if r.view == nil || r.view.watchers[c] == nil {
		return
	}
	r.view.watchers[c].gone = true
	delete(r.view.watchers, c)
	if len(r.view.watchers) == 0 {
		r.view = nil
	}
	r.p.touch(r)
}

// work does what is due at the time now and reports whether it is to be called again.
// Only Presence.run calls it.
func (r *roster) work(now time.Time) (more bool) {
	p := r.p
	r.mu.Lock()
	p.follow(r)
	var news [][]byte
	if (len(r.changed) > 0 || r.unsent) && !now.Before(r.announceAt) {
		news = r.announcements()
		r.announceAt = now.Add(p.cfg.AnnounceInterval)
	}
	if v := r.view; v != nil {
		v.work(now)
		more = v.pending() || p.bus != nil && !v.followed
	}
	r.mu.Unlock()

	sent := p.announce(r.channel, news)
	r.mu.Lock()
	if len(news) > 0 {
		r.unsent = !sent
	}
	more = more || len(r.changed) > 0 || r.unsent
	empty := r.empty()
	r.mu.Unlock()
	if empty {
		p.remove(r)
	}
	return more
}

// announce publishes what other nodes are to know.
func (p *Presence) announce(c Channel, news [][]byte) (sent bool) {
	for _, n := range news {
		if err := p.bus.Announce(c, n); err != nil {
			return false // it is told again, by its number, until that gets through
		}
		p.metrics.announced.Inc()
	}
	return true
}

// follow subscribes to announcements while there is a view, and not else. The bus only
// queues what this sends.
func (p *Presence) follow(r *roster) {
	if p.bus == nil {
		return
	}
	_, following := p.following[r.channel]
	switch {
	case r.view != nil && !following:
		if err := p.bus.Follow(r.channel); err != nil {
			return // it is tried again with the view's next look
		}
		p.following[r.channel] = struct{}{}
		r.view.followed = true
	case r.view != nil && !r.view.followed: // of a view before
		r.view.followed = true
	case r.view == nil && following:
		p.bus.Unfollow(r.channel)
		delete(p.following, r.channel)
	}
}

// sortedByID orders members as pages have them.
func sortedByID(list []*Member) []*Member {
	slices.SortFunc(list, func(a, b *Member) int { return cmp.Compare(a.Client, b.Client) })
	return list
}
