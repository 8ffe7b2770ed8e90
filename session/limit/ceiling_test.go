package limit_test

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/rivulet-rt/rivulet/session/limit"
)

// TestCollectLeavesTheCeiling: what the collector is told is what a ceiling is taken from.
func TestCollectLeavesTheCeiling(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	debug.SetMemoryLimit(1<<63 - 1)
	limit.Collect(0)
	if got := debug.SetMemoryLimit(-1); got != 1<<63-1 {
		t.Errorf("without a ceiling the collector has a limit of %d", got)
	}
	limit.Collect(900 << 20)
	if got := debug.SetMemoryLimit(-1); got != 1000<<20 {
		t.Errorf("the collector has a limit of %d MiB, want 1000", got>>20)
	}
	if got := limit.Ceiling(); got != 900<<20 {
		t.Errorf("the ceiling is %d MiB then, want 900", got>>20)
	}
	limit.Collect(2000 << 20)
	if got := debug.SetMemoryLimit(-1); got != 1000<<20 {
		t.Errorf("a limit that was set is %d MiB now", got>>20)
	}
}

func TestNeededFallsByACollection(t *testing.T) {
	held := make([]byte, 64<<20)
	runtime.GC()
	with, before := limit.NeededNow()
	runtime.KeepAlive(held) // until here
	runtime.GC()
	without, after := limit.NeededNow()
	if with < without+32<<20 || after <= before {
		t.Errorf("needed %d MiB with 64 MiB, then %d, after %d and %d collections", with>>20, without>>20, before, after)
	}
}
