package fanout

import (
	"maps"
	"slices"
	"time"
)

// view is what a node knows of all members of a channel, on all nodes, and what its
// watchers were told of it. Guarded by the roster's lock.
type view struct {
	r        *roster
	all      crowd
	bytes    int // of all whose member is known
	unknown  int // of all whose member is not known
	peers    map[string]*peer
	watchers map[*Client]*watcher

	followed bool      // announcements come
	want     bool      // the other nodes are to be asked
	asking   bool      // they are being asked
	ready    bool      // they were asked once
	checked  time.Time // when they were last asked

	dirty  bool // something may have to be pushed
	pushAt time.Time
	// told are the members that watchers know of, nil while they are told counts only.
	told                   map[ClientID]*Member
	toldClients, toldUsers int
	toldPartial            bool
}

// peer is what is known of one other node.
type peer struct {
	members map[ClientID]struct{}
	seq     uint64 // of its last announcement of the channel that members include
	heard   uint64 // of its last announcement of the channel that came
	broken  bool   // one was missed: members may be wrong until it is asked
}

// watcher is a client that is told of changes.
type watcher struct {
	client *Client
	gone   bool // owned by the client's shard
	fresh  bool // it is to be told everything
}

func newView(r *roster) *view {
	return &view{
		r: r, all: newCrowd(), peers: make(map[string]*peer), watchers: make(map[*Client]*watcher),
		want: true, dirty: true,
	}
}

func (v *view) add(id ClientID, a attendee) {
	v.remove(id)
	v.all.add(id, a)
	if a.member == nil {
		v.unknown++
	} else {
		v.bytes += a.member.size()
	}
	v.dirty = true
}

func (v *view) remove(id ClientID) {
	a, was := v.all.remove(id)
	switch {
	case !was:
		return
	case a.member == nil:
		v.unknown--
	default:
		v.bytes -= a.member.size()
	}
	v.dirty = true
}

// drop forgets a node's members.
func (v *view) drop(node string) {
	p := v.peers[node]
	if p == nil {
		return
	}
	for id := range p.members {
		v.remove(id)
	}
	delete(v.peers, node)
	v.dirty = true // also what is partial may have changed
}

// heard takes a node's announcement.
func (v *view) heard(node string, a *announcement) {
	p := v.peers[node]
	if p == nil {
		p = &peer{broken: true}
		v.peers[node] = p
	}
	if a.Seq <= p.heard && a.Seq <= p.seq {
		return
	}
	p.heard = max(p.heard, a.Seq)
	switch {
	case a.Seq <= p.seq:
		return
	case a.Prev == 0: // it had no members before
		v.drop(node)
		p = &peer{heard: p.heard, members: make(map[ClientID]struct{})}
		v.peers[node] = p
	case p.broken || a.Prev != p.seq:
		if !p.broken {
			v.r.p.metrics.gaps.Inc()
		}
		p.broken, v.want = true, true
		v.r.p.touch(v.r)
		return
	}
	p.seq = a.Seq
	v.apply(p, a.Joined, a.Left)
	v.r.p.touch(v.r)
}

func (v *view) apply(p *peer, joined []attendance, left []ClientID) {
	for _, j := range joined {
		v.add(j.id, j.attendee)
		p.members[j.id] = struct{}{}
	}
	for _, id := range left {
		if _, was := p.members[id]; was {
			v.remove(id)
			delete(p.members, id)
		}
	}
}

// adopt takes a node's whole answer, unless an announcement that came meanwhile is newer.
func (v *view) adopt(node string, a *standing) {
	p := v.peers[node]
	switch {
	case p == nil:
	case a.At < p.heard: // it answered before it announced what has come already
		v.want = v.want || p.broken
		return
	case a.Same && !p.broken && a.Seq == p.seq:
		return
	}
	if a.Same {
		v.want = true // what it was compared with has changed meanwhile
		return
	}
	v.drop(node)
	p = &peer{seq: a.Seq, heard: a.Seq, members: make(map[ClientID]struct{}, len(a.Joined))}
	v.peers[node] = p
	v.apply(p, a.Joined, nil)
}

// partial reports whether the members of a node that is alive are not known for sure.
func (v *view) partial() bool {
	for _, node := range v.r.p.others() {
		if p := v.peers[node]; p == nil || p.broken {
			return true
		}
	}
	return false
}

// have are the numbers of what is known for sure, by node.
func (v *view) have() map[string]uint64 {
	have := make(map[string]uint64, len(v.peers))
	for node, p := range v.peers {
		if !p.broken && (!v.wantsDetails() || !v.anyUnknown(p)) {
			have[node] = p.seq
		}
	}
	return have
}

func (v *view) anyUnknown(p *peer) bool {
	for id := range p.members {
		if v.all.members[id].member == nil {
			return true
		}
	}
	return false
}

// wantsDetails reports whether the channel is small enough to know who is there.
func (v *view) wantsDetails() bool { return len(v.all.members) <= v.room(v.r.p.cfg.MaxMembers) }

// room is a bound, lower for a channel that was over it, so that one about there does
// not go to and fro.
func (v *view) room(most int) int {
	if v.told == nil && v.toldClients > 0 {
		return most - most/4
	}
	return most
}

// small reports whether watchers are told who the members are.
func (v *view) small() bool {
	return v.unknown == 0 && v.wantsDetails() && v.bytes <= v.room(v.r.p.cfg.MaxBytes)
}

// work does what is due at the time now. Only Presence.run calls it.
func (v *view) work(now time.Time) {
	p := v.r.p
	if p.bus == nil || len(p.others()) == 0 {
		v.want, v.ready = false, true
	}
	if v.unknown > 0 && v.wantsDetails() && now.Sub(v.checked) >= time.Second {
		v.want = true
	}
	if v.want && !v.asking && v.followed {
		select {
		case p.syncs <- struct{}{}:
			v.want, v.asking, v.checked = false, true, now
			have, details := v.have(), v.wantsDetails()
			if !p.hub.start(func() { p.sync(v, have, details) }) {
				<-p.syncs
			}
		default: // enough are under way; later
		}
	}
	if v.dirty && v.ready && !now.Before(v.pushAt) {
		v.push(now)
	}
}

// pending reports whether work is to be called again without anything new.
func (v *view) pending() bool { return v.dirty && v.ready || v.want && v.followed }

// push tells the watchers what has changed.
func (v *view) push(now time.Time) {
	v.dirty = false
	counts := PresenceNews{Channel: v.r.channel, Clients: len(v.all.members), Users: len(v.all.users), Partial: v.partial()}
	was := v.told
	changed := counts.Clients != v.toldClients || counts.Users != v.toldUsers || counts.Partial != v.toldPartial
	whole, news := counts, counts
	switch {
	case !v.small():
		changed = changed || was != nil
		v.told = nil
	case was == nil:
		v.told = v.known()
		whole.Members = sortedByID(slices.Collect(maps.Values(v.told)))
		news, changed = whole, true
	default:
		v.told = v.known()
		v.compare(&news, was)
		whole.Members = sortedByID(slices.Collect(maps.Values(v.told)))
		if changes := len(news.Joined) + len(news.Left); changes > 0 {
			changed = true
		} else if changed {
			news = whole // the numbers alone would say that who is there is not told
		}
	}
	v.toldClients, v.toldUsers, v.toldPartial = counts.Clients, counts.Users, counts.Partial
	if v.deliver(&news, &whole, changed) {
		v.pushAt = now.Add(v.r.p.cfg.Interval)
	}
}

// known are all members, where all are known.
func (v *view) known() map[ClientID]*Member {
	known := make(map[ClientID]*Member, len(v.all.members))
	for id, a := range v.all.members {
		known[id] = a.member
	}
	return known
}

// compare fills in who came and went since the watchers were told of was.
func (v *view) compare(news *PresenceNews, was map[ClientID]*Member) {
	for id, m := range was {
		if v.told[id] == nil {
			news.Left = append(news.Left, m)
		}
	}
	for id, m := range v.told {
		if was[id] == nil {
			news.Joined = append(news.Joined, m)
		}
	}
	sortedByID(news.Joined)
	sortedByID(news.Left)
}

// deliver hands news to those who know what was before, if anything changed, and
// everything to the others. It reports whether there was anybody to tell.
func (v *view) deliver(news, whole *PresenceNews, changed bool) (told bool) {
	type parcel struct{ news, whole []*watcher }
	shards := make(map[*shard]*parcel)
	for _, w := range v.watchers {
		if !w.fresh && !changed {
			continue
		}
		p := shards[w.client.shard]
		if p == nil {
			p = &parcel{}
			shards[w.client.shard] = p
		}
		if w.fresh {
			w.fresh = false
			p.whole = append(p.whole, w)
		} else {
			p.news = append(p.news, w)
		}
	}
	for s, p := range shards {
		s.post(func() {
			v.r.tell(p.news, news)
			v.r.tell(p.whole, whole)
		})
	}
	return len(shards) > 0
}

// tell notifies watchers of one shard, on its goroutine. One that has no room gets
// everything once it has.
func (r *roster) tell(list []*watcher, news *PresenceNews) {
	for _, w := range list {
		if w.gone {
			continue
		}
		if w.client.notify(Notice{Kind: NoticePresence, Channel: r.channel, Presence: news}) {
			r.p.metrics.pushes.Inc()
			continue
		}
		r.mu.Lock()
		w.fresh = true
		if r.view != nil {
			r.view.dirty = true
			r.p.touch(r)
		}
		r.mu.Unlock()
	}
}
