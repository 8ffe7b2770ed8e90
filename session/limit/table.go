package limit

import (
	"hash/maphash"
	"maps"
	"sync"
	"time"
)

const (
	tableShards = 64
	// probes is how many callers are looked at for one that may be forgotten, where there
	// is no room: what a newcomer costs is bounded.
	probes = 16
	// sweepEvery is how often a shard forgets all who are idle, when somebody comes or
	// Forget is called.
	sweepEvery = 10 * time.Second
)

// Table has one token bucket for each of a bounded number of callers.
type Table[K comparable] struct {
	// Static after NewTable.
	clock    Clock
	seed     maphash.Seed
	most     int // of one shard
	overflow func()

	shards [tableShards]tableShard[K]
}

type tableShard[K comparable] struct {
	mu      sync.Mutex // guards the following
	buckets map[K]bucket
	rest    bucket // of all who found no place
	swept   int64
	room    int      // most that buckets had at a sweep since it was made
	_       [64]byte // a shard's lock is not on another's cache line
}

// NewTable returns a table of at most so many callers, rounded up to a multiple of its
// shards. overflow, if not nil, is called whenever a caller had to share a bucket
// because there was no place; it must not wait.
func NewTable[K comparable](clock Clock, callers int, overflow func()) *Table[K] {
	t := &Table[K]{clock: clock, seed: maphash.MakeSeed(), most: max((callers+tableShards-1)/tableShards, 1), overflow: overflow}
	for i := range t.shards {
		t.shards[i].buckets = make(map[K]bucket)
	}
	return t
}

// Take takes n from the caller's bucket and returns 0, or nothing and how long to wait.
// A zero rate always has room. It allocates only for a caller who is new.
func (t *Table[K]) Take(k K, r Rate, n int64) (wait time.Duration) {
	if r.IsZero() {
		return 0
	}
	now := t.clock.now()
	s := t.shard(k)
	s.mu.Lock()
	b, known := s.buckets[k]
	if !known && !s.roomLocked(now, t.most) {
		wait = s.rest.take(now, r, n)
		s.mu.Unlock()
		if t.overflow != nil {
			t.overflow()
		}
		return wait
	}
	if wait = b.take(now, r, n); wait == 0 {
		s.buckets[k] = b
	}
	s.mu.Unlock()
	return wait
}

// Peek returns what Take would, and takes nothing.
func (t *Table[K]) Peek(k K, r Rate, n int64) (wait time.Duration) {
	if r.IsZero() {
		return 0
	}
	now := t.clock.now()
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	b, known := s.buckets[k]
	if !known && !s.roomLocked(now, t.most) {
		b = s.rest
	}
	return b.take(now, r, n) // from a copy
}

// Reserve takes n from the caller's bucket whether they are there or not, and returns how
// long it takes until they are.
func (t *Table[K]) Reserve(k K, r Rate, n int64) (wait time.Duration) {
	now := t.clock.now()
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	b, known := s.buckets[k]
	if !known && !s.roomLocked(now, t.most) {
		if t.overflow != nil {
			t.overflow()
		}
		return s.rest.reserve(now, r, n)
	}
	wait = b.reserve(now, r, n)
	s.buckets[k] = b
	return wait
}

// Charge takes n from the caller's bucket whether they are there or not. Where there is
// no place for the caller it does nothing.
func (t *Table[K]) Charge(k K, r Rate, n int64) {
	now := t.clock.now()
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	b, known := s.buckets[k]
	if known || s.roomLocked(now, t.most) {
		s.buckets[k] = bucket(max(int64(b), now) + r.cost(n))
	}
}

// Until has the caller's bucket full again in d, or when it would be if that is later.
// Where there is no place for the caller it does nothing.
func (t *Table[K]) Until(k K, d time.Duration) {
	now := t.clock.now()
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	b, known := s.buckets[k]
	if known || s.roomLocked(now, t.most) {
		s.buckets[k] = max(b, bucket(now+int64(d)))
	}
}

// Debt is how long it takes until the caller's bucket is full; 0 for one that is not
// known.
func (t *Table[K]) Debt(k K) time.Duration {
	now := t.clock.now()
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(max(int64(s.buckets[k])-now, 0))
}

// Give takes a Take back.
func (t *Table[K]) Give(k K, r Rate, n int64) {
	if r.IsZero() {
		return
	}
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, known := s.buckets[k]; known {
		b.give(r, n)
		s.buckets[k] = b
	}
}

// Len is how many callers are remembered.
func (t *Table[K]) Len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.buckets)
		s.mu.Unlock()
	}
	return n
}

func (t *Table[K]) shard(k K) *tableShard[K] {
	return &t.shards[maphash.Comparable(t.seed, k)%tableShards]
}

// roomLocked reports whether there is a place for one more, and forgets who is idle: a
// full bucket is as good as none.
func (s *tableShard[K]) roomLocked(now int64, most int) bool {
	if now-s.swept >= int64(sweepEvery) {
		s.forgetLocked(now)
	}
	if len(s.buckets) < most {
		return true
	}
	left := probes
	for k, b := range s.buckets { // from a random place on
		if int64(b) <= now {
			delete(s.buckets, k)
			return true
		}
		if left--; left == 0 {
			return false
		}
	}
	return false
}

// Forget forgets who is idle, so that what a crowd has left does not stay for as long as
// nobody comes.
func (t *Table[K]) Forget() {
	now := t.clock.now()
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.forgetLocked(now)
		s.mu.Unlock()
	}
}

func (s *tableShard[K]) forgetLocked(now int64) {
	s.swept, s.room = now, max(s.room, len(s.buckets))
	for k, b := range s.buckets {
		if int64(b) <= now {
			delete(s.buckets, k)
		}
	}
	if len(s.buckets) < s.room/4 { // a map keeps the memory of what it had
		s.buckets, s.room = maps.Collect(maps.All(s.buckets)), len(s.buckets)
	}
}

// Counts counts what each caller has at a time. It remembers nobody who has nothing, so
// it is bounded by what is counted.
type Counts[K comparable] struct {
	seed   maphash.Seed
	shards [tableShards]countShard[K]
}

type countShard[K comparable] struct {
	mu     sync.Mutex // guards the following
	counts map[K]int32
	_      [64]byte
}

// NewCounts returns counts that are all 0.
func NewCounts[K comparable]() *Counts[K] {
	c := &Counts[K]{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].counts = make(map[K]int32)
	}
	return c
}

// Add counts one more of the caller's unless there are most already.
func (c *Counts[K]) Add(k K, most int) bool {
	s := &c.shards[maphash.Comparable(c.seed, k)%tableShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(s.counts[k]) >= most {
		return false
	}
	s.counts[k]++
	return true
}

// Remove takes one Add back.
func (c *Counts[K]) Remove(k K) {
	s := &c.shards[maphash.Comparable(c.seed, k)%tableShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts[k]--; s.counts[k] <= 0 {
		delete(s.counts, k)
	}
}

// Of is the caller's count.
func (c *Counts[K]) Of(k K) int {
	s := &c.shards[maphash.Comparable(c.seed, k)%tableShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.counts[k])
}
