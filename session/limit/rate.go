package limit

import "time"

// Rate is how often something may happen: PerSecond times on average, and Burst times at
// once. With PerSecond 0 there is no limit; a Burst below 1 counts as 1.
type Rate struct{ PerSecond, Burst int64 }

// Times is a rate of n a second of which so many seconds' worth may come at once.
func Times(n, seconds int64) Rate { return Rate{n, n * seconds} }

// mostBytes is the highest rate; above it cost would overflow.
const mostBytes = 1 << 32

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r.PerSecond <= 0 }

// Tighten is r with at most n a second, its burst smaller in proportion; 0 changes nothing.
func (r Rate) Tighten(n int64) Rate {
	n = min(n, mostBytes)
	switch {
	case n <= 0 || !r.IsZero() && n >= r.PerSecond:
		return r
	case r.IsZero():
		return Times(n, 2)
	}
	return Rate{n, max(r.Burst/r.PerSecond, 1) * n}
}

// cost is the time in which n are earned.
func (r Rate) cost(n int64) int64 {
	// In two parts, so that a large n does not overflow.
	return n/r.PerSecond*int64(time.Second) + n%r.PerSecond*int64(time.Second)/r.PerSecond
}

// bucket is when the bucket is full again, in nanoseconds of a clock; the zero bucket is
// full.
type bucket int64

// take takes n at the time now and returns 0, or nothing and how long to wait. More than
// the burst is taken when the bucket is full, and paid for afterwards: a batch larger
// than the burst is not impossible, only rare.
func (b *bucket) take(now int64, r Rate, n int64) (wait time.Duration) {
	burst := max(r.Burst, 1)
	ready := int64(*b) - r.cost(burst-min(n, burst))
	if ready > now {
		return time.Duration(ready - now)
	}
	*b = bucket(max(int64(*b), now) + r.cost(n))
	return 0
}

// reserve takes n whether they are there or not, and returns how long it takes until they
// are.
func (b *bucket) reserve(now int64, r Rate, n int64) (wait time.Duration) {
	burst := max(r.Burst, 1)
	ready := int64(*b) - r.cost(burst-min(n, burst))
	*b = bucket(max(int64(*b), now) + r.cost(n))
	return time.Duration(max(ready-now, 0))
}

// give takes back what take took.
func (b *bucket) give(r Rate, n int64) { *b -= bucket(r.cost(n)) }

// Clock is the time since it was made, which does not jump.
type Clock struct{ epoch time.Time }

// NewClock returns a clock that begins now.
func NewClock() Clock { return Clock{time.Now()} }

func (c Clock) now() int64 { return int64(time.Since(c.epoch)) }
