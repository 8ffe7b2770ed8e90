package fanout

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"slices"
	"time"
)

// What the other nodes say. The bus calls these methods.

// Announced takes what another node announced of a channel that is followed here.
func (p *Presence) Announced(node string, c Channel, news []byte) {
	p.mu.RLock()
	r := p.rosters[c]
	p.mu.RUnlock()
	if r == nil {
		return
	}
	a, err := parseAnnouncement(news)
	if err != nil {
		p.log.Warn("presence announcement not understood", slog.String("from", node), slog.Any("err", err))
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.view != nil {
		r.view.heard(node, a)
	}
}

// Nodes tells which other nodes are alive. The members of those that no longer are have
// left; those of new ones are asked for.
func (p *Presence) Nodes(others []string) {
	before := p.others()
	p.nodes.Store(&others)
	came := slices.ContainsFunc(others, func(n string) bool { return !slices.Contains(before, n) })
	p.eachView(func(v *membersView) {
		for node := range v.peers {
			if !slices.Contains(others, node) {
				v.drop(node)
			}
		}
		v.want = v.want || came
		v.dirty = true // what is partial has changed
	})
}

// Disturbed says that announcements may have been lost.
func (p *Presence) Disturbed() {
	p.eachView(func(v *membersView) { v.want = true })
}

func (p *Presence) eachView(f func(*membersView)) {
	p.mu.RLock()
	all := make([]*roster, 0, len(p.rosters))
	for _, r := range p.rosters {
		all = append(all, r)
	}
	p.mu.RUnlock()
	for _, r := range all {
		r.mu.Lock()
		if r.view != nil {
			f(r.view)
			p.touch(r)
		}
		r.mu.Unlock()
	}
}

// mostVerified bounds the views that are compared with the other nodes at once, so that
// many of them are spread over time.
const mostVerified = 256

// verify has views asked for that were not for long, and those that miss a node. Only
// run calls it.
func (p *Presence) verify(now time.Time) {
	if len(p.others()) == 0 {
		return
	}
	looked := 0
	for c := range p.following { // in an order of its own each time
		if looked == mostVerified {
			return
		}
		p.mu.RLock()
		r := p.rosters[c]
		p.mu.RUnlock()
		if r == nil {
			continue
		}
		r.mu.Lock()
		if v := r.view; v != nil && (now.Sub(v.checked) >= p.cfg.VerifyInterval || now.Sub(v.checked) >= time.Second && (v.partial() || v.unknown > 0)) {
			looked++
			v.want = v.want || v.partial() || now.Sub(v.checked) >= p.cfg.VerifyInterval
			p.touch(r)
		}
		r.mu.Unlock()
	}
}

// sync asks the other nodes for their members of a view's channel. It gives back the
// slot in syncs.
func (p *Presence) sync(v *membersView, have map[string]uint64, details bool) {
	defer func() { <-p.syncs }()
	p.metrics.syncs.Inc()
	ctx, cancel := context.WithTimeout(p.hub.ctx, p.cfg.AskTimeout)
	defer cancel()
	answers := make(map[string]*standing)
	unread := make(map[string]bool) // nodes of which a piece makes no sense
	question := encode(wireQuestion{Channel: v.r.channel.String(), Sync: true, Details: details, Have: have})
	missing, err := p.bus.Ask(ctx, TopicPresence, question, func(node string, piece []byte) {
		var n wireNews
		if json.Unmarshal(piece, &n) != nil {
			unread[node] = true
			return
		}
		s := answers[node]
		if s == nil {
			s = &standing{Seq: n.Seq, At: n.At, Same: n.Same}
			answers[node] = s
		}
		list, err := n.connections()
		unread[node] = unread[node] || err != nil
		s.Joined = append(s.Joined, list...)
	})
	r := v.r
	r.mu.Lock()
	defer r.mu.Unlock()
	v.asking, v.ready, v.dirty = false, true, true
	if r.view != v {
		return
	}
	if err == nil {
		for node, s := range answers {
			// What was not read to the end is no answer: taken for one, its number would make
			// the next look find that nothing has changed.
			if !unread[node] && !slices.Contains(missing, node) && slices.Contains(p.others(), node) {
				v.adopt(node, s)
			}
		}
	}
	p.touch(r)
}

// Answer answers a question of another node on TopicPresence. A reply that fails ends it.
func (p *Presence) Answer(question []byte, reply Reply) {
	var q wireQuestion
	if json.Unmarshal(question, &q) != nil {
		return // of a node of some other version; it counts as no answer
	}
	c, err := ParseChannel(q.Channel)
	if err != nil {
		return
	}
	if q.Sync {
		p.answerSync(c, &q, reply)
		return
	}
	p.answerPage(c, &q, reply)
}

func (p *Presence) answerSync(c Channel, q *wireQuestion, reply Reply) {
	pieces := []wireNews{{}}
	first := func(r *roster) {
		n := &pieces[0]
		n.At = p.seq.Load()
		if r == nil {
			n.Same = p.knows(q, 0)
			return
		}
		n.Seq = r.seq
		if n.Same = p.knows(q, r.seq) && len(r.changed) == 0; n.Same {
			return
		}
		details := q.Details && len(r.local.members) <= p.cfg.MaxMembers
		for id, a := range r.local.members {
			if n = &pieces[len(pieces)-1]; n.full() {
				pieces = append(pieces, wireNews{Seq: n.Seq, At: n.At})
				n = &pieces[len(pieces)-1]
			}
			n.put(id, a, details)
		}
	}
	p.mu.RLock()
	r := p.rosters[c]
	if r != nil {
		r.mu.Lock()
	}
	p.mu.RUnlock()
	first(r)
	if r != nil {
		r.mu.Unlock()
	}
	for i := range pieces {
		if reply(encode(&pieces[i]), i == len(pieces)-1) != nil {
			return
		}
	}
}

// knows reports whether the asker has what this node announced last.
func (p *Presence) knows(q *wireQuestion, seq uint64) bool {
	have, ok := q.Have[p.cfg.Node]
	return ok && have == seq
}

func (p *Presence) answerPage(c Channel, q *wireQuestion, reply Reply) {
	after, _ := ParseClientID(q.After)
	own := p.own(c, after, q.After != "", q.Limit)
	n := wireNews{Clients: own.clients}
	for key := range own.users {
		n.Keys = binary.BigEndian.AppendUint64(n.Keys, key)
		if n.full() {
			if reply(encode(n), false) != nil {
				return
			}
			n = wireNews{}
		}
	}
	for _, m := range own.members {
		n.Members = append(n.Members, toWire(m))
		if n.full() {
			if reply(encode(n), false) != nil {
				return
			}
			n = wireNews{}
		}
	}
	_ = reply(encode(n), true) // who does not get it asks again
}
