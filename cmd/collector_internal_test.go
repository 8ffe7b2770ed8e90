package cmd

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"testing"
	"testing/synctest"
)

func TestGarbageOfSomeSecondsGathers(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		name            string
		live, perSecond uint64
		want            int
	}{
		{"idle", 10 * mib, 0, 50},
		{"half of what is in use is more", 100 * mib, mib, 50},
		{"some messages", 10 * mib, 5 * mib, 200},
		{"a flood", 10 * mib, 100 * mib, 640},
		{"a flood, and many connections", 1000 * mib, 1000 * mib, 50},
		{"just begun", 0, 1000 * mib, 1600},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := percentFor(test.live, test.perSecond); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

// TestCollectorFollowsTheLoad: it is set once where nothing changes, goes back to the
// least when the load ends, and stays there while what is in use grows.
func TestCollectorFollowsTheLoad(t *testing.T) {
	const mib = 1 << 20
	var allocated, perSecond uint64
	live, grows := uint64(10*mib), uint64(0)
	var set []int
	c := &collector{
		read: func() (uint64, uint64) {
			allocated += perSecond
			live += grows
			return live, allocated
		},
		set: func(percent int) { set = append(set, percent) },
	}
	for _, step := range []struct{ perSecond, grows uint64 }{
		{0, 0},
		{5 * mib, 0},
		{5*mib + mib/2, 0}, // nearly the same
		{10 * mib, 0},
		{10 * mib, mib}, // connections come
		{10 * mib, 0},   // 20 MiB are in use now
		{0, 0},
	} {
		perSecond, grows = step.perSecond, step.grows
		for range growthLooks + 2 {
			c.look()
		}
	}
	if want := []int{50, 200, 400, 50, 200, 50}; !slices.Equal(set, want) {
		t.Errorf("it was set to %v, want %v", set, want)
	}
}

// TestCollectorLooksEverySecond until it is stopped.
func TestCollectorLooksEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks uint64
		c := &collector{
			read: func() (uint64, uint64) {
				looks++
				return 1, looks
			},
			set: func(int) {},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*collectorPeriod+collectorPeriod/2)
		defer cancel()
		c.run(ctx)
		if looks != 11 { // the first before the first second
			t.Errorf("it looked %d times in ten seconds and a half, want 11", looks)
		}
	})
}

// TestCollectorLeavesGOGCAlone: what the environment says is not changed.
func TestCollectorLeavesGOGCAlone(t *testing.T) {
	before := gogc()
	defer debug.SetGCPercent(before)
	collectOften(t.Context(), []string{"GOGC=70"})()
	if now := gogc(); now != before {
		t.Errorf("it was set to %d, from %d", now, before)
	}
	stop := collectOften(t.Context(), nil)
	stop()
	if now := gogc(); now != gcPercent {
		t.Errorf("%d without GOGC, want %d", now, gcPercent)
	}
}

// gogc is the process's GOGC.
func gogc() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}
