package broker

import (
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// The oldest message of a backlog is looked out for once the log is about to drop it for
// its age: who has not had it at the next check never may.
func TestFloorWatchesAge(t *testing.T) {
	aged := func(offset uint64, age time.Duration) []*fanout.Message {
		return []*fanout.Message{{Position: fanout.Position{Offset: offset, Time: time.Now().Add(-age).UnixNano()}}}
	}
	f := floor{at: fanout.Position{Offset: 3}}
	for _, step := range []struct {
		what      string
		at        uint64
		backlog   []*fanout.Message
		retention time.Duration
		seen      bool
	}{
		{"nothing waits", 3, nil, time.Hour, true},
		{"young", 3, aged(4, time.Minute), time.Hour, true},
		{"kept for ever", 3, aged(4, time.Hour), 0, true},
		{"about to be dropped", 3, aged(4, time.Hour-floorEvery), time.Hour, true},
		{"handed out since", 4, aged(5, time.Minute), time.Hour, true},
		{"the next one is about to be dropped", 4, aged(5, time.Hour-floorEvery), time.Hour, true},
		{"which nobody had", 4, nil, time.Hour, false},
		{"told once", 4, nil, time.Hour, true},
	} {
		f.at.Offset = step.at
		if seen := f.watch(step.backlog, step.retention); seen != step.seen {
			t.Errorf("%s: seen is %v", step.what, seen)
		}
	}
}

func TestGroupBackoffSteps(t *testing.T) {
	c := GroupConfig{Backoff: []time.Duration{1, 2, 3}}
	for attempt, want := range []time.Duration{1, 2, 3, 3, 3} {
		if got := c.wait(attempt + 1); got != want {
			t.Errorf("after attempt %d: %v, want %v", attempt+1, got, want)
		}
	}
	if got := (GroupConfig{Backoff: []time.Duration{}}).wait(1); got != 0 {
		t.Errorf("without a backoff: %v", got)
	}
}
