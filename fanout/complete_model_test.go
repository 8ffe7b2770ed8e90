package fanout_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// chronicle is one stream and everything that ever was in it: the truth that
// Complete, which sees only what is left, has to find.
type chronicle struct {
	limit   uint64 // promised per channel; the server keeps one more
	epoch   int
	created int64
	clock   int64
	last    uint64
	lastAt  int64    // time of last
	singly  bool     // messages left one by one
	entries []*entry // in the order of storing, those rolled back too
}

type entry struct {
	channel fanout.Channel
	seq     uint64
	time    int64
	kind    fanout.Kind
	gone    absence
	goneAt  int64 // an older copy of the stream still has it
}

func (e *entry) leave(why absence, at int64) { e.gone, e.goneAt = why, at }

type absence uint8

const (
	present absence = iota
	overflowed
	aged
	purgedAway
	singled // deleted, or at the end of its own TTL
	rolledBack
)

// handed is a position that a client was given, and what it had been handed by then.
type handed struct {
	x      fanout.Position
	had    map[*entry]bool
	broken bool // the log was rolled back behind it, or made anew
	origin string
}

func (c *chronicle) tag() fanout.StreamTag {
	return fanout.StreamTag(fmt.Appendf(nil, "abcde%03d", c.epoch))
}

func (c *chronicle) tick() int64 {
	c.clock += 1000
	return c.clock
}

func (c *chronicle) stored(filter fanout.Channel) (out []*entry) {
	for _, e := range c.entries {
		if e.gone == present && filter.Matches(e.channel) {
			out = append(out, e)
		}
	}
	return out
}

func (c *chronicle) store(ch fanout.Channel, kind fanout.Kind) {
	c.last++
	c.lastAt = c.tick()
	old := c.stored(ch)
	c.entries = append(c.entries, &entry{channel: ch, seq: c.last, time: c.lastAt, kind: kind})
	switch {
	case kind == fanout.KindPurge:
		for _, e := range old {
			e.leave(purgedAway, c.lastAt)
		}
	case c.limit > 0 && uint64(len(old)) > c.limit:
		old[0].leave(overflowed, c.lastAt)
	}
}

// rollBack goes back by n sequences, to a copy as old as the last that it keeps.
func (c *chronicle) rollBack(n uint64) {
	c.last -= min(n, c.last)
	c.lastAt = c.created
	for _, e := range c.entries {
		switch {
		case e.gone == rolledBack:
		case e.seq > c.last:
			e.gone = rolledBack
		case e.seq == c.last:
			c.lastAt = e.time
		}
	}
	for _, e := range c.entries {
		if e.gone != rolledBack && e.goneAt > c.lastAt {
			e.leave(present, 0)
		}
	}
}

// remake deletes the stream and creates it again.
func (c *chronicle) remake() {
	c.rollBack(c.last)
	c.created = c.tick()
	c.lastAt = c.created
	c.epoch++
}

// evidence is what the broker can see.
func (c *chronicle) evidence(filter fanout.Channel, x fanout.Position) fanout.Evidence {
	ev := fanout.Evidence{Tag: c.tag(), FirstSeq: c.last + 1, LastSeq: c.last, Limit: c.limit, Singly: c.singly}
	if c.singly {
		ev.Gone = c.last - min(c.last, x.Offset)
	}
	facts := make(map[fanout.Channel]*fanout.ChannelFacts)
	for _, e := range c.stored(mustFilter(">")) {
		ev.FirstSeq = min(ev.FirstSeq, e.seq)
		if c.singly && e.seq > x.Offset {
			ev.Gone--
		}
		if e.seq == x.Offset {
			ev.StoredTime, ev.Matches = e.time, e.channel == filter
		}
		if e.time >= x.Time && ev.FirstSince == 0 {
			ev.FirstSince = e.seq
		}
		if !filter.Matches(e.channel) {
			continue
		}
		f := facts[e.channel]
		if f == nil {
			f = &fanout.ChannelFacts{First: e.seq}
			if e.kind == fanout.KindPurge {
				f.Purge = e.seq
			}
			facts[e.channel] = f
		}
		f.Count++
	}
	for _, f := range facts {
		if !filter.IsPattern() || f.Count > c.limit || c.singly && f.Count+ev.Gone > c.limit+1 {
			ev.Channels = append(ev.Channels, *f)
		}
	}
	if len(facts) == 0 || filter.IsPattern() {
		ev.Channels = append(ev.Channels, fanout.ChannelFacts{})
	}
	return ev
}

func mustFilter(name string) fanout.Channel {
	c, err := fanout.ParsePattern("t:" + name)
	if err != nil {
		panic(err)
	}
	return c
}

// handOut gives a position as the node gives them: of a message, of the end, or
// before the oldest message of a channel.
func (c *chronicle) handOut(t *rapid.T) *handed {
	h := &handed{had: make(map[*entry]bool), origin: "end"}
	h.x = fanout.Position{Stream: c.tag(), Offset: c.last, Time: c.lastAt}
	all := c.stored(mustFilter(">"))
	if len(all) > 0 {
		e := all[rapid.IntRange(0, len(all)-1).Draw(t, "entry")]
		switch rapid.IntRange(0, 3).Draw(t, "origin") {
		case 0:
			h.origin = "before"
			h.x.Offset, h.x.Time = e.seq-1, e.time
			for _, o := range all {
				if o.seq == e.seq-1 {
					h.x.Time = o.time
				}
			}
		case 1, 2:
			h.origin = "message"
			h.x.Offset, h.x.Time = e.seq, e.time
		}
	}
	for _, e := range c.entries {
		if e.gone != rolledBack && e.seq <= h.x.Offset {
			h.had[e] = true
		}
	}
	return h
}

// missing lists what a reader at h that gets everything stored after it never gets.
func (c *chronicle) missing(h *handed, filter fanout.Channel) (out []string) {
	lastPurge := make(map[fanout.Channel]uint64)
	for _, e := range c.stored(filter) {
		if e.kind == fanout.KindPurge && e.seq > h.x.Offset {
			lastPurge[e.channel] = e.seq
		}
	}
	for _, e := range c.entries {
		read := e.gone == present && e.seq > h.x.Offset
		// The marker of a purge is read like a message, and tells a pattern's client that
		// all before it is gone.
		told := filter.IsPattern() && e.seq < lastPurge[e.channel]
		if h.had[e] || read || told || e.gone == rolledBack || e.gone == singled || !filter.Matches(e.channel) {
			continue
		}
		out = append(out, fmt.Sprintf("%s@%d(%d)", e.channel, e.seq, e.gone))
	}
	return out
}

// excuse says why the log may be unable to prove what is true: the exceptions to
// "and only then".
func (c *chronicle) excuse(h *handed, ev fanout.Evidence, filter fanout.Channel) string {
	switch {
	case h.broken:
		return "the log changed behind it"
	case ev.FirstSeq > h.x.Offset+1:
		return "the front has passed it"
	case ev.StoredTime == 0 && h.x.Stream != ev.Tag:
		return "the epoch was raised, and nothing is stored there"
	}
	for _, e := range c.stored(filter) {
		if e.kind == fanout.KindPurge && e.seq > h.x.Offset {
			return "a purge is told, also to who had all that it took"
		}
	}
	for _, f := range ev.Channels {
		begins := f.Count == 0 || f.First > h.x.Offset+1
		if c.limit > 0 && f.Count == c.limit+1 && begins {
			return "a channel is one over its limit, and begins after it"
		}
		if c.limit > 0 && c.singly && f.Count+ev.Gone >= c.limit+2 && begins {
			return "so much is gone, for whatever reason, that a channel may have overflowed"
		}
	}
	return ""
}

// play makes one random move. Where the epoch is not raised with a rollback,
// nothing may leave the log later: it could be the only trace of the change.
func (c *chronicle) play(t *rapid.T, given []*handed, raises bool, rolled *bool) {
	channels := []fanout.Channel{mustFilter("a"), mustFilter("b"), mustFilter("c")}
	ch := channels[rapid.IntRange(0, 2).Draw(t, "channel")]
	keep := *rolled && !raises
	switch n := rapid.IntRange(0, 15).Draw(t, "move"); {
	case n == 0 && !keep:
		for _, e := range c.stored(mustFilter(">"))[:min(len(c.stored(mustFilter(">"))), rapid.IntRange(1, 4).Draw(t, "aged"))] {
			e.leave(aged, c.tick())
		}
	case n == 1 && !keep:
		c.store(ch, fanout.KindPurge)
	case n == 2 && !keep:
		c.singly = true
		if rapid.Bool().Draw(t, "marker") {
			c.store(ch, fanout.KindDeleted)
		}
		c.singleOut(t, ch)
	case n == 3:
		c.rollBack(uint64(rapid.IntRange(0, 6).Draw(t, "back by")))
		*rolled = true
		if raises {
			c.epoch++
		}
		for _, h := range given {
			stored := c.evidence(ch, h.x).StoredTime
			// The time of a position before a message is a guess, which a copy may disprove
			// that still has what had left.
			h.broken = h.broken || h.x.Offset > c.last || stored != 0 && stored != h.x.Time
		}
	case n == 4 && raises && rapid.IntRange(0, 2).Draw(t, "remake") == 0:
		c.remake()
		for _, h := range given {
			h.broken = true
		}
	case n == 5 && raises:
		c.epoch++ // another change than this history's: a copy of the data was started
	default:
		for range rapid.IntRange(1, 5).Draw(t, "messages") {
			c.store(channels[rapid.IntRange(0, 2).Draw(t, "to")], fanout.KindData)
		}
	}
}

// singleOut takes messages out of a channel, as their own TTL does, or a deletion
// after its marker was stored, or before: the marker may have evicted a message, and
// then nothing in the channel shows that any more.
func (c *chronicle) singleOut(t *rapid.T, ch fanout.Channel) {
	for range rapid.IntRange(1, 4).Draw(t, "messages") {
		all := c.stored(ch)
		if len(all) == 0 {
			return
		}
		if e := all[rapid.IntRange(0, len(all)-1).Draw(t, "singled")]; e.kind == fanout.KindData {
			e.leave(singled, c.tick())
		}
	}
}

// TestCompleteAgainstTruth: "complete" is never said of a history with a hole, and
// "gone" only of one with a hole, or for a reason that excuse lists.
func TestCompleteAgainstTruth(t *testing.T) {
	filters := []fanout.Channel{mustFilter("a"), mustFilter("b"), mustFilter(">"), mustFilter("*")}
	verdicts := make(map[string]int)
	for name, c := range map[string]struct {
		limit  uint64
		raises bool // a rollback raises the epoch
	}{
		"no limit": {0, true}, "limit 1": {1, true}, "limit 2": {2, true}, "limit 5": {5, true},
		"rollbacks that go unnoticed": {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { playChronicle(t, c.limit, c.raises, filters, verdicts) })
		})
	}
	for _, v := range []string{"", protocol.ReasonRetention, protocol.ReasonPurged, protocol.ReasonLogChanged} {
		if verdicts[v] == 0 {
			t.Errorf("never judged %q: the histories test nothing", v)
		}
	}
	t.Log(verdicts)
}

func playChronicle(t *rapid.T, limit uint64, raises bool, filters []fanout.Channel, verdicts map[string]int) {
	c := &chronicle{limit: limit, clock: 1_700_000_000_000_000_000}
	c.created = c.tick()
	c.lastAt = c.created
	var given []*handed
	var rolled bool
	for range rapid.IntRange(1, 25).Draw(t, "moves") {
		c.play(t, given, raises, &rolled)
		if len(given) < 8 {
			given = append(given, c.handOut(t))
		}
		for _, h := range given {
			for _, f := range filters {
				verdicts[c.judge(t, h, f)]++
			}
		}
	}
}

func (c *chronicle) judge(t *rapid.T, h *handed, f fanout.Channel) string {
	ev := c.evidence(f, h.x)
	ok, reason := fanout.Complete(h.x, ev)
	missing := c.missing(h, f)
	told := fmt.Sprintf("%s from %s %v (of epoch %d): complete %v %q, missing %v, evidence %+v", f, h.origin, h.x, c.epoch, ok, reason, missing, ev)
	excuse := c.excuse(h, ev, f)
	switch {
	case ok != (reason == ""):
		t.Fatalf("a reason, or none, for the wrong verdict: %s", told)
	case ok && len(missing) > 0:
		t.Fatalf("a silent hole: %s", told)
	case !ok && len(missing) == 0 && excuse == "":
		t.Fatalf("told gone, but nothing is: %s", told)
	case reason == protocol.ReasonLogChanged && !h.broken && h.x.Stream == ev.Tag,
		reason != protocol.ReasonLogChanged && !ok && h.broken && h.x.Stream != ev.Tag && ev.StoredTime == 0:
		t.Fatalf("the wrong reason: %s", told)
	case reason == protocol.ReasonPurged && !slices.ContainsFunc(ev.Channels, func(o fanout.ChannelFacts) bool { return o.Purge > h.x.Offset }):
		t.Fatalf("no purge: %s", told)
	}
	return reason
}
