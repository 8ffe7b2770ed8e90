package rivulet

import (
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// This file keeps the jobs that wait in a group's queue: their time runs at the node
// from when it sent them, whether or not the application has begun.

// keepParts is into how many parts the time for a job is divided: one that waits gets it
// anew after each.
const keepParts = 3

// queued is a job that the application has not taken.
type queued struct {
	*Job
	came  time.Time
	begun time.Time // when its time began anew, as far as the node has confirmed it
	asked time.Time // when that was asked for and not answered; zero if it was not
}

// active notes that the application does something about its jobs.
func (g *Group) active() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.acted = time.Now()
}

// keepLater sees to it that the jobs that wait are kept. It must not be called under g.mu.
func (g *Group) keepLater() {
	g.mu.Lock()
	wait := g.wait
	if g.keeping || wait == 0 || g.ended || len(g.jobs) == 0 {
		g.mu.Unlock()
		return
	}
	g.keeping = true
	g.mu.Unlock()
	g.client.after(max(wait/(2*keepParts), time.Millisecond), g.keep)
}

// keep begins the time anew of each job that has waited for a part of it, unless the
// application stands still: others may get them then.
func (g *Group) keep() {
	now := time.Now()
	g.mu.Lock()
	g.keeping = false
	g.dropLate(now)
	due := make([]*queued, 0, len(g.jobs))
	for _, q := range g.jobs {
		idle := now.Sub(latest(g.acted, q.came))
		if q.asked.IsZero() && now.Sub(q.begun) >= g.wait/keepParts && idle < g.wait {
			q.asked = now
			due = append(due, q)
		}
	}
	g.mu.Unlock()
	for _, q := range due {
		g.renew(q)
	}
	g.keepLater()
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// dropLate drops the jobs whose time is up: they are other members' now. g.mu is held.
func (g *Group) dropLate(now time.Time) {
	if g.wait == 0 { // of an earlier version, which does not say
		return
	}
	left := g.jobs[:0]
	for _, q := range g.jobs {
		if now.Sub(q.begun) < g.wait {
			left = append(left, q)
		}
	}
	clear(g.jobs[len(left):])
	g.jobs = left
}

// renew asks for the time of a job anew. What the node answers is of no account if the
// application has taken the job meanwhile.
func (g *Group) renew(q *queued) {
	l := q.link
	id := l.expect(func(e *protocol.Event) { g.renewed(q, e) })
	// If it does not go out the link is gone, and the job with it.
	_, _ = l.send(l.lost, &protocol.Command{ID: id, InProgress: &protocol.InProgressCommand{Channel: g.channel, Token: q.token}})
}

// renewed takes the node's word on a job that waits: one that it took back is dropped.
func (g *Group) renewed(q *queued, e *protocol.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	asked := q.asked
	q.asked = time.Time{}
	switch {
	case e.Acked != nil:
		q.begun = asked
	case e.Error != nil && e.Error.Code == protocol.ErrorNotFound:
		for i, o := range g.jobs {
			if o == q {
				g.jobs = append(g.jobs[:i:i], g.jobs[i+1:]...)
				break
			}
		}
	}
}

// full begins the time anew of a job that the application is about to get, if some of it
// has passed.
func (g *Group) full(q *queued, now time.Time) {
	if g.wait > 0 && now.Sub(q.begun) >= g.wait/(2*keepParts) {
		g.renew(q)
	}
}
