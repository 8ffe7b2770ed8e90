package limit

import (
	"container/list"
	"net/netip"
)

// lanes are handshakes that wait, one lane for each caller, which take turns. The zero
// caller is of all who are not told apart.
type lanes struct {
	turn list.List // of *lane, the next first
	by   map[netip.Prefix]*lane
	n    int
}

// lane is what waits of one caller, in order.
type lane struct {
	caller netip.Prefix
	in     *lanes
	place  *list.Element // in turn
	queue  list.List     // of *waiter, never empty
}

// of is how many of a caller wait.
func (l *lanes) of(caller netip.Prefix) int {
	if one := l.by[caller]; one != nil {
		return one.queue.Len()
	}
	return 0
}

func (l *lanes) push(caller netip.Prefix, w *waiter) {
	one := l.by[caller]
	if one == nil {
		one = &lane{caller: caller, in: l}
		one.place = l.turn.PushBack(one)
		if l.by == nil {
			l.by = make(map[netip.Prefix]*lane)
		}
		l.by[caller] = one
	}
	w.in, w.place = one, one.queue.PushBack(w)
	l.n++
}

// next takes out whose turn it is, and its lane waits for the next; nil where nobody waits.
func (l *lanes) next() *waiter {
	front := l.turn.Front()
	if front == nil {
		return nil
	}
	l.turn.MoveToBack(front)
	one, _ := front.Value.(*lane)
	w, _ := one.queue.Front().Value.(*waiter)
	w.leave()
	return w
}

// last takes out the newest of the lane whose turn comes last; nil where nobody waits.
func (l *lanes) last() *waiter {
	back := l.turn.Back()
	if back == nil {
		return nil
	}
	one, _ := back.Value.(*lane)
	w, _ := one.queue.Back().Value.(*waiter)
	w.leave()
	return w
}

// leave takes w out of its lane.
func (w *waiter) leave() {
	one := w.in
	one.queue.Remove(w.place)
	w.in = nil
	one.in.n--
	if one.queue.Len() == 0 {
		one.in.turn.Remove(one.place)
		delete(one.in.by, one.caller)
	}
}
