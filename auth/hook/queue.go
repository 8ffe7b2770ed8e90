package hook

import (
	"context"
	"slices"
	"sync"
	"time"
)

// maxLine is how many questions of one caller wait, of the MaxWaiting of all.
const maxLine = MaxWaiting / 8

// queue gives out the places of a hook. A caller has half of them at most, and a part of the
// line, and callers who wait have their turns one after the other, so that who asks much waits
// behind itself. Its methods may be called concurrently; it holds nothing of who has no place
// and does not wait.
type queue struct {
	places, share int // static; of all, and of one caller

	mu      sync.Mutex // guards the following
	taken   int
	waiting int
	callers map[string]*caller
	turns   []*caller // who waits; the next is the first that may have a place
}

// caller is who has places or waits for some. Guarded by the queue's lock.
type caller struct {
	name  string
	taken int
	line  []chan struct{} // each is closed when its turn has come
}

func newQueue(places int) *queue {
	return &queue{places: places, share: (places + 1) / 2, callers: map[string]*caller{}}
}

// enter waits for a place, for patience at most; leave must follow unless there is an error,
// errBusy or errGivenUp.
func (q *queue) enter(ctx context.Context, name string, patience time.Duration) error {
	turn, err := q.stand(name)
	if turn == nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-turn:
		return nil
	case <-timer.C:
		err = errBusy
	case <-ctx.Done():
		err = errGivenUp
	}
	if !q.quit(name, turn) {
		q.leave(name) // the turn has come at the last moment
	}
	return err
}

// stand takes a place, or one in the line, whose turn is returned then.
func (q *queue) stand(name string) (turn chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.callers[name]
	if c == nil {
		c = &caller{name: name}
	}
	// Where both hold, nobody waits who could have the place.
	if q.taken < q.places && c.taken < q.share {
		q.callers[name] = c
		q.taken++
		c.taken++
		return nil, nil
	}
	if q.waiting >= MaxWaiting || len(c.line) >= maxLine {
		return nil, errBusy
	}
	q.callers[name] = c
	turn = make(chan struct{})
	if c.line = append(c.line, turn); len(c.line) == 1 {
		q.turns = append(q.turns, c)
	}
	q.waiting++
	return turn, nil
}

// quit leaves the line, and reports whether it stood there still.
func (q *queue) quit(name string, turn chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.callers[name]
	i := -1
	if c != nil {
		i = slices.Index(c.line, turn)
	}
	if i < 0 {
		return false
	}
	c.line = slices.Delete(c.line, i, i+1)
	q.waiting--
	if len(c.line) == 0 {
		q.turns = slices.DeleteFunc(q.turns, func(o *caller) bool { return o == c })
	}
	q.forgetLocked(c)
	return true
}

// leave gives a place back, to whose turn it is.
func (q *queue) leave(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.callers[name]
	c.taken--
	q.taken--
	for q.taken < q.places {
		i := slices.IndexFunc(q.turns, func(o *caller) bool { return o.taken < q.share })
		if i < 0 {
			break
		}
		next := q.turns[i]
		q.turns = slices.Delete(q.turns, i, i+1)
		close(next.line[0])
		next.line = slices.Delete(next.line, 0, 1)
		next.taken++
		q.taken++
		q.waiting--
		if len(next.line) > 0 {
			q.turns = append(q.turns, next)
		}
	}
	q.forgetLocked(c)
}

func (q *queue) forgetLocked(c *caller) {
	if c.taken == 0 && len(c.line) == 0 {
		delete(q.callers, c.name)
	}
}
