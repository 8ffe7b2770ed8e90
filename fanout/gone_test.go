package fanout_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// What the node still had in memory of a message that was deleted, or has outlived its
// TTL, nobody gets any more who subscribes later; who was there is told of a deletion.
func TestGoneFromTheRing(t *testing.T) {
	t.Parallel()
	for channel, start := range map[string]fanout.Start{"t:a": {Last: 6}, "t:*": {Since: 1}} {
		t.Run(channel, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, calm(0, 1), true, nil)
			first := n.subscribe(t, channel, fanout.Start{})
			n.publish(t, "t:a", 1, 3)
			expires := time.Now().Add(300 * time.Millisecond)
			n.log.storeShort(mustChannel(t, "t:a"), "short", expires)
			n.publish(t, "t:a", 4, 5)
			first.await("m5")
			if !slices.Contains(first.told, "short") {
				t.Errorf("told %q", first.told)
			}
			second := n.stored(t, "t:a")[1].Offset()
			n.log.deleteOne(mustChannel(t, "t:a"), 1, true)
			first.await(fmt.Sprint("deleted t:a ", second))
			if !eventually(10*time.Second, func() bool { return time.Now().After(expires) }) {
				t.Fatal("time stands still")
			}
			reads := n.metric(t, "reads_total", "ring")
			later := n.subscribe(t, channel, start)
			later.await("caught up " + channel)
			want := []string{"m1", "m3", "m4", "m5", fmt.Sprint("deleted t:a ", second)}
			if got := later.told[1 : len(later.told)-1]; !slices.Equal(got, want) {
				t.Errorf("a later reader was told %q, want %q", got, want)
			}
			if channel == "t:a" && n.metric(t, "reads_total", "ring") == reads {
				t.Error("the ring was not read: nothing is tested")
			}
		})
	}
}

// storeShort stores a message that expires.
func (l *memLog) storeShort(c fanout.Channel, data string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expires = at.UnixNano()
	l.storeLocked(c, fanout.KindData, data, 0)
	l.expires = 0
}
