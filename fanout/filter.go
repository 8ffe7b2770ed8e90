package fanout

import (
	"errors"
	"sync/atomic"
)

// Filter decides which messages a subscription gets. One Filter stands for one
// expression and is shared by all subscriptions of the node that gave it; its answer
// about a message is kept with the message, so that it is found once for all of them.
type Filter struct {
	// Static after NewFilter.
	id     uint64
	passes func(*Message) bool

	users atomic.Int64
}

// NewFilter returns a filter without users. id tells the filters of a hub apart and is
// never used twice; passes answers the same for the same message, does not wait, and
// may be called concurrently.
func NewFilter(id uint64, passes func(*Message) bool) *Filter {
	return &Filter{id: id, passes: passes}
}

// Acquire counts one more user: a subscription, or who is about to begin one.
func (f *Filter) Acquire() { f.users.Add(1) }

// Release ends what Acquire began.
func (f *Filter) Release() { f.users.Add(-1) }

// Users is how many there are.
func (f *Filter) Users() int64 { return f.users.Load() }

// ErrTooManyFilters says that the node has as many different filters as it may.
var ErrTooManyFilters = errors.New("fanout: too many different filters")

// MaxFilters bounds the different filters of one client.
const MaxFilters = 32

// Passes reports whether m is to be delivered. What one subscription alone asks for is
// asked anew each time; the rest once for each message.
func (f *Filter) Passes(m *Message) bool {
	if f.users.Load() <= 1 {
		return f.passes(m)
	}
	return m.verdict(f)
}

// verdicts are the answers of filters about one message, in short lists by filter.
type verdicts [16]atomic.Pointer[verdict]

type verdict struct {
	filter uint64
	passes bool
	next   *verdict
}

const (
	verdictsBytes = 128
	verdictBytes  = 24
)

// verdict returns f's answer about m. Concurrent first calls may both ask.
func (m *Message) verdict(f *Filter) bool {
	all := m.verdicts.Load()
	if all == nil {
		all = new(verdicts)
		if m.verdicts.CompareAndSwap(nil, all) {
			m.further.Add(verdictsBytes)
		} else {
			all = m.verdicts.Load()
		}
	}
	slot := &all[f.id%uint64(len(all))]
	head := slot.Load()
	for v := head; v != nil; v = v.next {
		if v.filter == f.id {
			return v.passes
		}
	}
	v := &verdict{filter: f.id, passes: f.passes(m)}
	for {
		v.next = head
		if slot.CompareAndSwap(head, v) {
			m.further.Add(verdictBytes)
			return v.passes
		}
		head = slot.Load()
	}
}

// tooManyFilters reports whether one more filter is one too many for the client. The
// caller holds the client's lock.
func (c *Client) tooManyFiltersLocked(f *Filter) bool {
	var seen [MaxFilters]uint64
	n := 0
next:
	for _, sub := range c.subs.list {
		if sub.refine == nil || sub.refine.filter == nil {
			continue
		}
		id := sub.refine.filter.id
		if id == f.id {
			return false
		}
		for _, other := range seen[:n] {
			if other == id {
				continue next
			}
		}
		if n++; n == MaxFilters {
			return true
		}
		seen[n-1] = id
	}
	return false
}
