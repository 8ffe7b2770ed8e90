package cmd

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// gcPercent is the least of Go's GOGC for a node. What a node keeps is mostly its
	// connections, for which as much garbage as there is memory in use is a poor trade:
	// half as much saves a quarter of it, and costs a few percent of the most messages
	// that it can deliver.
	gcPercent = 50
	// garbageFor is for how long a node lets garbage gather, up to garbageMost. One with
	// little in use would else collect many times a second, and each time all deliveries
	// take some milliseconds longer: with one client who reads histories that was a
	// twenty-fifth of the time.
	garbageFor  = 4 // seconds
	garbageMost = 64 << 20
	// leastHeap is what Go takes a smaller heap for, in proportion to GOGC: 4 MiB at 100.
	leastHeap = 4 << 20
	// growthLooks is over how many looks what is in use must not have grown by a quarter
	// for that. While connections come, all that gathers lies between what they keep, and
	// the holes that it leaves are nearly as large: a third more memory for 10,000 of them.
	growthLooks = 8
	// collectorPeriod is how often all this is judged anew.
	collectorPeriod = time.Second
)

// collector adapts how often garbage is collected to how much there is.
type collector struct {
	read func() (live, allocated uint64)
	set  func(percent int)
	last uint64 // allocated, at the last look
	now  int    // the percentage that was set

	recent [growthLooks]uint64 // live, at the last looks
	looks  int
}

// collectOften has the process's garbage collected as a node needs it until stop is
// called, unless the environment has a GOGC of its own.
func collectOften(ctx context.Context, environ []string) (stop func()) {
	if slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "GOGC=") }) {
		return func() {}
	}
	c := &collector{read: readHeap(), set: func(percent int) { debug.SetGCPercent(percent) }}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { c.run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// run looks once a second until ctx ends.
func (c *collector) run(ctx context.Context) {
	c.apply(gcPercent)
	_, c.last = c.read()
	tick := time.NewTicker(collectorPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.look()
	}
}

func (c *collector) look() {
	live, allocated := c.read()
	percent := gcPercent
	if least := slices.Min(c.recent[:]); live <= least+least/4 {
		percent = percentFor(live, allocated-c.last)
	}
	c.apply(percent)
	c.last = allocated
	c.recent[c.looks%growthLooks] = live
	c.looks++
}

// apply sets a percentage that differs much from the one before: each change stops all
// goroutines for some microseconds.
func (c *collector) apply(percent int) {
	if percent == c.now || percent > gcPercent && percent > c.now*3/4 && percent < c.now*4/3 {
		return
	}
	c.set(percent)
	c.now = percent
}

// percentFor has the garbage of garbageFor gather, garbageMost at most, and half of what
// is in use in any case. Both are in bytes.
func percentFor(live, perSecond uint64) int {
	return int(max(gcPercent, min(perSecond*garbageFor, garbageMost)*100/max(live, leastHeap)))
}

// readHeap tells the bytes that the last collection found in use, and those that were
// ever allocated.
func readHeap() func() (live, allocated uint64) {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	return func() (uint64, uint64) {
		metrics.Read(sample)
		return sample[0].Value.Uint64(), sample[1].Value.Uint64()
	}
}
