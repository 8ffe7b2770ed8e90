package webhook

import (
	"slices"
	"sync"
)

// laneTable holds the lanes of the leases that this node has.
type laneTable struct {
	mu   sync.Mutex // guards the following
	open [Partitions]struct {
		lanes    []*lane
		inboxes  []*inbox
		complete bool // all of them are there
	}
}

func (t *laneTable) watch(task int, b *inbox) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[task].inboxes = append(t.open[task].inboxes, b)
}

func (t *laneTable) add(task int, l *lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[task].lanes = append(t.open[task].lanes, l)
}

func (t *laneTable) complete(task int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[task].complete = true
}

func (t *laneTable) clear(task int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[task].lanes, t.open[task].inboxes, t.open[task].complete = nil, nil, false
}

// of returns the lanes of a task, and whether there are no others to come and all
// inboxes are watched.
func (t *laneTable) of(task int) (lanes []*lane, complete bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	part := &t.open[task]
	unopened := slices.ContainsFunc(part.inboxes, func(b *inbox) bool { return !b.opened.Load() })
	return slices.Clone(part.lanes), part.complete && !unopened
}
