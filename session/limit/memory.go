package limit

import (
	"context"
	"log/slog"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// Stage is how much of the newest work a node sheds because memory runs out. Each does
// what those before it do.
type Stage int32

// The stages.
const (
	Calm           Stage = iota
	NoHandshakes         // new connections are refused
	NoHistories          // subscriptions that begin in the past, and long histories, are
	NoBatches            // large publishes are
	ShedConnection       // the newest connections are closed, some at each judgement
)

func (s Stage) String() string {
	return [...]string{"calm", "no new connections", "no new histories", "no large publishes", "closing the newest connections"}[s]
}

// thresholds are where stages begin, in percent of the ceiling; one ends when memory is
// hysteresis percent below.
var thresholds = [...]uint64{NoHandshakes: 80, NoHistories: 85, NoBatches: 90, ShedConnection: 95} //nolint:gochecknoglobals // a constant table

const (
	hysteresis   = 5
	memoryPeriod = time.Second
	// shedPart of the connections are closed at each judgement of ShedConnection.
	shedPart = 100
	// collectEvery and collectShare bound how often the collector is made to run: a pause
	// of so long, and of so many times what the last run took.
	collectEvery = 5 * time.Second
	collectShare = 4
	// futileMost closings in a row after which no less memory was needed are made, and
	// then one in every futilePause.
	futileMost  = 3
	futilePause = time.Minute
)

// What is large in a stage.
const (
	// LargeHistory is the number of messages from which on a history is long.
	LargeHistory = 100
	// LargeBatch and LargeBody are from where on a publish is large, in messages and bytes.
	LargeBatch = 100
	LargeBody  = 256 << 10
)

// memory watches what the process needs against a ceiling.
//
// What the heap needs is only known by a collection, and one that has memory left may
// not come for minutes. So a stage is entered, and a connection closed, only by what a
// collection found that began after the last judgement; where none comes by itself, one is
// made. A stage is left by any measure.
type memory struct {
	// Static after newMemory.
	ceiling uint64 // 0: there is none
	read    func() (needed, collections uint64)
	collect func() // returns when a whole collection is done
	log     *slog.Logger

	stage atomic.Int32
	used  atomic.Uint64

	// Of run alone.
	last    uint64 // collections at the last judgement
	asked   bool   // whether one was asked for since
	lowest  uint64 // needed of the closings in this row
	futile  int    // closings after which no less was needed
	resumes time.Time

	collecting sync.WaitGroup
	busy       atomic.Bool  // one is made
	made       atomic.Bool  // the one that was asked for is done
	next       atomic.Int64 // when the next may be made, in Unix nanoseconds
}

// run looks every second until ctx ends. shed closes one in so many connections, the
// newest, and returns how many.
func (m *memory) run(ctx context.Context, shed func(part int) int) {
	if m.ceiling == 0 {
		return
	}
	defer m.collecting.Wait()
	tick := time.NewTicker(memoryPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if m.look(ctx) {
			n := shed(shedPart)
			m.log.Warn("memory is short, the newest connections were closed", slog.Int("connections", n))
		}
	}
}

// look measures and decides, and reports whether connections are to be closed.
func (m *memory) look(ctx context.Context) bool {
	made := m.asked && m.made.Load() // before the measure, which is then newer
	used, collections := m.read()
	m.used.Store(used)
	was := Stage(m.stage.Load())
	is := stageAt(was, used*100/m.ceiling)
	if is == Calm && was == Calm {
		m.last, m.asked = collections, false
		return false
	}
	// The next collection may have begun before the last action; the one after it has not.
	fresh := made || collections >= m.last+2
	if !fresh {
		m.refresh()
	}
	if is > was && !fresh {
		return false
	}
	if is != was {
		m.enter(ctx, was, is, used)
	}
	if is != ShedConnection {
		m.futile, m.lowest = 0, 0 // the next closings are another row
	}
	if !fresh {
		return false
	}
	m.last, m.asked = collections, false
	return is == ShedConnection && m.helps(used)
}

// refresh has a collection made, unless the last was a moment ago.
func (m *memory) refresh() {
	begin := time.Now()
	if begin.UnixNano() < m.next.Load() || !m.busy.CompareAndSwap(false, true) {
		return
	}
	m.asked = true
	m.made.Store(false)
	m.collecting.Go(func() {
		m.collect()
		pause := max(collectEvery, collectShare*time.Since(begin))
		m.next.Store(time.Now().Add(pause).UnixNano())
		m.made.Store(true)
		m.busy.Store(false)
	})
}

func (m *memory) enter(ctx context.Context, was, is Stage, used uint64) {
	m.stage.Store(int32(is))
	level := slog.LevelWarn
	if is < was {
		level = slog.LevelInfo
	}
	m.log.Log(ctx, level, "memory: what is shed has changed",
		slog.String("stage", is.String()), slog.String("before", was.String()),
		slog.Uint64("used_bytes", used), slog.Uint64("ceiling_bytes", m.ceiling))
}

// helps reports whether closing connections is worth it: where less is needed since the
// last time, or there has been no telling yet. What is short may be held by others.
func (m *memory) helps(used uint64) bool {
	switch {
	case m.lowest == 0 || used < m.lowest:
		m.lowest, m.futile = used, 0
		return true
	case m.futile < futileMost-1:
		m.futile++
		return true
	}
	now := time.Now()
	m.futile++
	switch {
	case m.futile == futileMost:
		m.log.Warn("memory: closing connections frees none; few more are closed", slog.Uint64("used_bytes", used))
	case !now.Before(m.resumes):
		m.resumes = now.Add(futilePause)
		return true
	default:
		return false
	}
	m.resumes = now.Add(futilePause)
	return false
}

// stageAt is the stage after was, with so many percent of the ceiling in use.
func stageAt(was Stage, percent uint64) Stage {
	is := Calm
	for s := NoHandshakes; s <= ShedConnection; s++ {
		begin := thresholds[s]
		if s <= was {
			begin -= hysteresis
		}
		if percent >= begin {
			is = s
		}
	}
	return is
}

// needed is what the process needs, and how many collections have been.
func needed() (bytes, collections uint64) {
	samples := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(samples) // before the rest: a collection that ends between them is the next look's
	return Needed(), samples[0].Value.Uint64()
}

// Needed is how many bytes the process needs: what the collector found alive, and all
// that is not heap. Garbage that it may still free does not count, so that a node which
// makes much of it is not taken for one that is full.
func Needed() uint64 {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	needed := samples[0].Value.Uint64() + samples[1].Value.Uint64()
	for _, s := range samples[2:] {
		needed -= min(s.Value.Uint64(), needed)
	}
	return needed
}
