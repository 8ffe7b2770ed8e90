package cmd_test

import (
	"testing"

	"github.com/rivulet-rt/rivulet/cmd"
)

// TestConnectionsLeaveDescriptors: the log and requests have descriptors left when all
// connections are taken.
func TestConnectionsLeaveDescriptors(t *testing.T) {
	for _, tc := range []struct {
		limit uint64
		want  int
	}{
		{20_000, 18_000},
		{1_000_000, 900_000},
		{1024, 768},
		{100, 1},
		{0, 1<<31 - 1},       // unknown
		{1 << 62, 1<<31 - 1}, // unlimited
	} {
		if got := cmd.ConnectionsWithinForTest(tc.limit); got != tc.want {
			t.Errorf("limit %d: %d connections, want %d", tc.limit, got, tc.want)
		}
	}
}
