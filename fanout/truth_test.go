package fanout_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// What a consumer of the model knows of the log, to judge what it is told.

// checkGone holds "and only then": a gap is told only when history is gone.
func (c *consumer) checkGone(id fanout.StreamID, at place, reason string) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	s := c.log.streams[id]
	counts := make(map[fanout.Channel]uint64)
	// Where so many left singly that a channel may have overflowed nobody can tell.
	unsure := s.singly && s.goneSince(at.offset)+c.log.limit > c.log.limit+1
	gone := unsure || slices.ContainsFunc(s.changes, func(t int64) bool { return t >= at.time })
	// Once the front of the stream has passed the place, nothing can be proven: which
	// is why quiet channels are sent fresh positions.
	gone = gone || c.log.evidenceLocked(fanout.Source{Stream: id, Filter: c.channel}, fanout.Position{}).FirstSeq > at.offset+1
	// What a loose pattern was handed after its floor cannot be told from what was
	// lost there: where the floor is no longer proven, history is said to be gone.
	// Its markers come again from there, like its messages.
	// Where the log ever changed, it may be told that twice: once for itself and once
	// with the node's own source.
	gone = gone || c.loose && (reason != protocol.ReasonLogChanged || len(s.changes) > 1)
	for _, r := range s.records {
		if !c.channel.Matches(r.msg.Channel) || r.life != s.life || r.seq <= at.offset {
			continue
		}
		counts[r.msg.Channel]++
		gone = gone || r.fate != stored || counts[r.msg.Channel] > c.log.limit || r.msg.Kind == fanout.KindPurge
	}
	if !gone {
		c.fail("told that history is gone (%s) after %v, but nothing is", reason, at)
	}
}

// checkNothingBefore holds that a fresh position skips nothing.
func (c *consumer) checkNothingBefore(p fanout.Position) {
	id := c.streamOf(p)
	for _, ch := range c.log.channelsOf(id, c.channel) {
		if missing := c.between(id, ch, c.placeOf(ch), p.Offset+1, p.Time); len(missing) > 0 {
			c.fail("position %d of %s skips %s", p.Offset, ch, strings.Join(missing, " "))
		}
	}
}

func (l *memLog) channelsOf(id fanout.StreamID, f fanout.Channel) []fanout.Channel {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := make(map[fanout.Channel]bool)
	var out []fanout.Channel
	for _, r := range l.streamLocked(id).records {
		if f.Matches(r.msg.Channel) && !seen[r.msg.Channel] {
			seen[r.msg.Channel] = true
			out = append(out, r.msg.Channel)
		}
	}
	return out
}

// between lists the messages of ch that lie after at and before an offset, in the
// log as it was at time until.
func (c *consumer) between(id fanout.StreamID, ch fanout.Channel, at place, before uint64, until int64) []string {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	var out []string
	for _, r := range c.log.streams[id].records {
		// What was evicted or purged and came back with an older copy is not asked for.
		if r.msg.Channel != ch || r.msg.Kind != fanout.KindData || r.fate == lost || r.fate == alone || r.back {
			continue
		}
		if r.fate != stored && r.seq <= max(c.excused[id], c.emptied[ch]) {
			continue
		}
		if r.seq > at.offset && r.seq < before && r.msg.Position.Time > at.time && r.msg.Position.Time <= until {
			if !c.wants(r) {
				continue
			}
			if c.channel.IsPattern() && r.fate == purged && c.log.purgeFrom(r.msg.Stream, ch, before) {
				c.owed[ch] = true
				continue
			}
			out = append(out, fmt.Sprintf("%s@%d(fate %d at %d)", r.msg.Data, r.seq, r.fate, r.end))
		}
	}
	return out
}

// purgeFrom reports whether a purge of ch lies at an offset or after it. The caller holds
// the log's lock.
func (l *memLog) purgeFrom(id fanout.StreamID, ch fanout.Channel, offset uint64) bool {
	return slices.ContainsFunc(l.streams[id].records, func(r *record) bool {
		return r.msg.Channel == ch && r.msg.Kind == fanout.KindPurge && r.fate != lost && r.seq >= offset
	})
}

// missing lists what is stored and not yet delivered.
func (c *consumer) missing() []string {
	var out []string
	for _, id := range c.parts {
		for _, ch := range c.log.channelsOf(id, c.channel) {
			at := c.placeOf(ch)
			c.log.mu.Lock()
			for _, r := range c.log.streams[id].records {
				if r.msg.Channel == ch && r.fate == stored && !r.back && r.msg.Kind == fanout.KindData && r.seq > at.offset && c.wants(r) {
					out = append(out, fmt.Sprintf("%s@%d", r.msg.Data, r.seq))
				}
			}
			c.log.mu.Unlock()
		}
	}
	return out
}

// TestJudgedFromWhereItResumed: the model's own judgement. What a loose pattern's client is
// handed live takes it back to where the node's feed is proven, before where it began. If
// that is gone when it resumes, this is no false alarm, although the reason that is told is
// that of another stream.
func TestJudgedFromWhereItResumed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := calm(1000, 2).clocked()
		n := newNode(t, l, false, rare)
		l.store(mustChannel(t, "t:x"), fanout.KindData, "x")
		changes, other := l.partition(mustChannel(t, "t:x")), "t:y"
		if l.partition(mustChannel(t, other)) == changes {
			t.Fatal("both channels are of one stream: nothing is tested")
		}
		n.subscribe(t, "t:>", fanout.Start{}) // from here on the feed is not proven
		n.publish(t, other, 1, 3)
		n.quiet(t)
		c := newConsumer(t, l, "client", "t:>", true)
		c.connect(n.Hub, 100, fanout.Start{})
		n.quiet(t)
		n.publish(t, other, 4, 4)
		n.quiet(t)
		c.drain()
		began, at := c.from[l.partition(mustChannel(t, other))], c.positions[l.partition(mustChannel(t, other))]
		if began.offset != 3 || at.Offset >= began.offset {
			t.Fatalf("began at %d, would resume from %d: nothing is tested", began.offset, at.Offset)
		}
		c.cut()
		l.ageOut(l.partition(mustChannel(t, other)), 2)
		release := make(chan struct{})
		n.gate.setHold(func(_ context.Context, q fanout.Query) {
			if q.Source.Stream != changes {
				<-release
			}
		})
		l.recreate(changes)
		c.connect(n.Hub, 100, fanout.Start{})
		n.quiet(t) // the change is found first
		close(release)
		n.quiet(t)
		c.drain()
		if last := c.history[len(c.history)-1]; !strings.Contains(strings.Join(c.history, "\n"), "recovered false "+protocol.ReasonLogChanged) {
			t.Errorf("not told of the change, but %q: nothing is tested", last)
		}
		if len(c.problems) > 0 {
			t.Errorf("%q", c.problems)
		}
	})
}
