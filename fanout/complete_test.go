package fanout_test

import (
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// TestComplete has the cases in which the evidence alone decides; x is at offset 10.
func TestComplete(t *testing.T) {
	tag := fanout.StreamTag([]byte("abcde000"))
	raised := fanout.StreamTag([]byte("abcde001"))
	other := fanout.StreamTag([]byte("vwxyz000"))
	x := fanout.Position{Stream: tag, Offset: 10, Time: 1000}
	whole := fanout.Evidence{Tag: tag, FirstSeq: 1, LastSeq: 20, FirstSince: 11, Limit: 5}
	for name, c := range map[string]struct {
		change func(*fanout.Evidence)
		reason string
	}{
		"absent, nothing against it": {func(*fanout.Evidence) {}, ""},
		"another stream":             {func(ev *fanout.Evidence) { ev.Tag = other }, protocol.ReasonLogChanged},
		"still stored":               {func(ev *fanout.Evidence) { *ev = fanout.Evidence{Tag: raised, StoredTime: 1000, Matches: true} }, ""},
		"stored at another time":     {func(ev *fanout.Evidence) { ev.StoredTime = 999 }, protocol.ReasonLogChanged},
		"absent, epoch raised":       {func(ev *fanout.Evidence) { ev.Tag = raised }, protocol.ReasonLogChanged},
		"another channel's, epoch raised": {func(ev *fanout.Evidence) {
			ev.Tag, ev.StoredTime = raised, 1000
		}, ""},
		"the log is shorter":            {func(ev *fanout.Evidence) { ev.LastSeq, ev.FirstSince = 9, 0 }, protocol.ReasonLogChanged},
		"the log ends there":            {func(ev *fanout.Evidence) { ev.LastSeq, ev.FirstSince = 10, 0 }, ""},
		"something newer below":         {func(ev *fanout.Evidence) { ev.FirstSince = 9 }, protocol.ReasonLogChanged},
		"the front is next":             {func(ev *fanout.Evidence) { ev.FirstSeq = 11 }, ""},
		"the front is past it":          {func(ev *fanout.Evidence) { ev.FirstSeq = 12 }, protocol.ReasonRetention},
		"over the limit":                {facts(6, 12, 0), protocol.ReasonRetention},
		"over the limit, none after it": {facts(6, 11, 0), ""},
		"at the limit":                  {facts(5, 12, 0), ""},
		"few, and enough left singly":   {singly(5, facts(2, 15, 0)), protocol.ReasonRetention},
		"few, and some left singly":     {singly(4, facts(2, 15, 0)), ""},
		"few, and enough left before":   {singly(5, facts(2, 11, 0)), ""},
		"none, and enough left singly":  {singly(7, facts(0, 0, 0)), protocol.ReasonRetention},
		"none, and as many as fit left": {singly(6, facts(0, 0, 0)), ""},
		"none, and there is no limit": {func(ev *fanout.Evidence) {
			singly(9, facts(0, 0, 0))(ev)
			ev.Limit = 0
		}, ""},
		"purged":        {facts(1, 12, 12), protocol.ReasonPurged},
		"purged before": {facts(1, 9, 9), ""},
		"purged, and the front with it": {func(ev *fanout.Evidence) {
			facts(1, 12, 12)(ev)
			ev.FirstSeq = 12
		}, protocol.ReasonPurged},
		"purged in a log that changed": {func(ev *fanout.Evidence) {
			facts(1, 12, 12)(ev)
			ev.Tag = raised
		}, protocol.ReasonLogChanged},
	} {
		t.Run(name, func(t *testing.T) {
			ev := whole
			c.change(&ev)
			if ok, reason := fanout.Complete(x, ev); reason != c.reason || ok != (c.reason == "") {
				t.Errorf("complete %v %q, want %q", ok, reason, c.reason)
			}
		})
	}
}

// singly is of a log in which so many messages after x are gone, perhaps one by one.
func singly(gone uint64, rest func(*fanout.Evidence)) func(*fanout.Evidence) {
	return func(ev *fanout.Evidence) {
		rest(ev)
		ev.Singly, ev.Gone = true, gone
	}
}

func facts(count, first, purge uint64) func(*fanout.Evidence) {
	return func(ev *fanout.Evidence) {
		ev.Channels = []fanout.ChannelFacts{{Count: count, First: first, Purge: purge}}
	}
}
