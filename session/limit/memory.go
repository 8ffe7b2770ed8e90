package limit

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
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
	ShedConnection       // the newest connections are closed, some every second
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
	// shedPart of the connections are closed in each second of ShedConnection.
	shedPart = 100
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
type memory struct {
	// Static after newMemory.
	ceiling uint64 // 0: there is none
	read    func() uint64
	log     *slog.Logger

	stage atomic.Int32
	used  atomic.Uint64
}

// run looks every second until ctx ends. shed closes one in so many connections, the
// newest, and returns how many.
func (m *memory) run(ctx context.Context, shed func(part int) int) {
	if m.ceiling == 0 {
		return
	}
	tick := time.NewTicker(memoryPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if m.look(ctx) == ShedConnection {
			n := shed(shedPart)
			m.log.Warn("memory is short, the newest connections were closed", slog.Int("connections", n))
		}
	}
}

// look measures and decides.
func (m *memory) look(ctx context.Context) Stage {
	used := m.read()
	m.used.Store(used)
	was := Stage(m.stage.Load())
	is := stageAt(was, used*100/m.ceiling)
	if is == was {
		return is
	}
	m.stage.Store(int32(is))
	level := slog.LevelWarn
	if is < was {
		level = slog.LevelInfo
	}
	m.log.Log(ctx, level, "memory: what is shed has changed",
		slog.String("stage", is.String()), slog.String("before", was.String()),
		slog.Uint64("used_bytes", used), slog.Uint64("ceiling_bytes", m.ceiling))
	return is
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

// Ceiling is what a node may use where nothing is configured: nine tenths of GOMEMLIMIT,
// or where that is not set, eight of the control group's limit; 0 where there is neither.
func Ceiling() int64 {
	if most := ceiling(); most >= leastMemory {
		return most
	}
	return 0 // less than a configuration may say
}

func ceiling() int64 {
	if limit := debug.SetMemoryLimit(-1); limit > 0 && limit < 1<<60 {
		return limit / 10 * 9
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file) //nolint:gosec // a constant
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 && limit < 1<<60 {
			return limit / 10 * 8
		}
	}
	return 0
}
