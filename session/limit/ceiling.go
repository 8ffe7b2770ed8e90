package limit

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// Ceiling is what a node may use where nothing is configured: nine tenths of GOMEMLIMIT,
// or where that is not set, eight of the control group's limit; 0 where there is neither.
func Ceiling() int64 {
	if most := ceiling(); most >= leastMemory {
		return most
	}
	return 0 // less than a configuration may say
}

func ceiling() int64 {
	if limit, ok := collectorLimit(); ok {
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

// collectorLimit is the limit that the collector keeps to; false where it has none.
func collectorLimit() (int64, bool) {
	limit := debug.SetMemoryLimit(-1)
	return limit, limit > 0 && limit < 1<<60
}

// Collect has the collector work harder before the process needs more than a ceiling, in
// bytes: it gets the limit of which a ceiling is nine tenths, unless GOMEMLIMIT has given
// it one. It is of the whole process. A ceiling of 0 changes nothing.
func Collect(ceiling int64) {
	if _, ok := collectorLimit(); ok || ceiling <= 0 {
		return
	}
	debug.SetMemoryLimit(ceiling / 9 * 10)
}
