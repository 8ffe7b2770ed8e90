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

// What the log dropped after a position is no doubt only where it is proven that neither
// age nor bytes reached that far.
func TestOnlyLimits(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		change func(*streamInfo)
		limit  uint64
		want   bool
	}{
		"few messages":            {func(*streamInfo) {}, 20, true},
		"no limit":                {func(*streamInfo) {}, 0, false},
		"a lower limit":           {func(i *streamInfo) { i.Config.PerSubject = 20 }, 20, false},
		"no limit any more":       {func(i *streamInfo) { i.Config.PerSubject = -1 }, 20, true},
		"old":                     {func(i *streamInfo) { i.Config.MaxAge = time.Minute + 2*floorEvery }, 20, false},
		"not that old":            {func(i *streamInfo) { i.Config.MaxAge = 2*time.Minute + 2*floorEvery }, 20, true},
		"old by the log's clock":  {func(i *streamInfo) { i.Config.MaxAge = time.Hour; i.State.LastTime = now.Add(time.Hour) }, 20, false},
		"many messages":           {func(i *streamInfo) { i.State.Last = 100 + 10 }, 20, false},
		"nearly as many messages": {func(i *streamInfo) { i.State.Last = 100 + 9 }, 20, true},
		"any number of bytes":     {func(i *streamInfo) { i.State.Last = 1 << 40; i.Config.MaxBytes = -1 }, 20, true},
		"messages of any size":    {func(i *streamInfo) { i.Config.MaxMessage = -1 }, 20, false},
	} {
		i := &streamInfo{}
		i.Config.PerSubject, i.Config.MaxMessage = 21, 100<<10
		i.Config.MaxBytes = 10 * (100<<10 + storedRoom)
		i.State.Last, i.State.LastTime = 101, now
		c.change(i)
		if got := onlyLimits(i, 100, now.Add(-time.Minute), c.limit); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// That as much waits as a channel keeps is told at once, and where that goes on by the next
// check; also where a message comes late, over the inbox before.
func TestGroupFollowsFull(t *testing.T) {
	g := &group{limit: 5, wake: make(chan struct{}, 1)}
	at := func(offset uint64) *fanout.Message {
		return &fanout.Message{Position: fanout.Position{Offset: offset}}
	}
	for _, step := range []struct {
		what            string
		offset, pending uint64
		gap, late       bool
	}{
		{"room", 1, 4, false, false},
		{"full", 7, 5, true, false},
		{"still full", 9, 6, false, true},
		{"room again", 10, 4, false, false},
		{"full again, late", 8, 5, true, false},
	} {
		g.follow(at(step.offset), step.pending)
		if gap, late := g.gap, g.tookLate(); gap != step.gap || late != step.late {
			t.Errorf("%s: gap %v, late %v", step.what, gap, late)
		}
		g.gap = false
	}
	if g.newest.Offset != 10 || g.tookLate() {
		t.Errorf("newest %d, or told twice", g.newest.Offset)
	}
}
