package broker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

// expect judges a resume of ch from x.
func expect(t *testing.T, b *broker.Broker, what, ch string, x fanout.Position, wantReason string, wantData ...string) {
	t.Helper()
	data, ok, reason, ev := judge(t, b, ch, x)
	if ok != (wantReason == "") || reason != wantReason {
		t.Errorf("%s: complete %v %q, want %q; evidence %+v", what, ok, reason, wantReason, ev)
	}
	if wantData != nil && fmt.Sprint(data) != fmt.Sprint(wantData) {
		t.Errorf("%s: read %v, want %v", what, data, wantData)
	}
	if !ok && (ev.Begin.IsZero() || ev.Begin.Time == 0) {
		t.Errorf("%s: no place to go on from", what)
	}
	if !ok && reason != protocol.ReasonPurged && !channel(t, ch).IsPattern() {
		// Going on from there is complete, and gives all there is. (Before a purge's
		// marker, and for a pattern that lost something of one channel, it is not.)
		again, ok, reason, _ := judge(t, b, ch, ev.Begin)
		if !ok {
			t.Errorf("%s: resuming from begin %v: %s", what, ev.Begin, reason)
		}
		all := read(t, b, fanout.Query{Source: source(t, b, ch), Limit: 256})
		if fmt.Sprint(again) != fmt.Sprint(texts(all.Messages)) {
			t.Errorf("%s: from begin %v, stored %v", what, again, texts(all.Messages))
		}
	}
}

func TestEvidenceUndisturbed(t *testing.T) {
	b := open(t, config(t))
	empty, err := b.Tail(t.Context(), source(t, b, "t:a"))
	if err != nil {
		t.Fatal(err)
	}
	a := publishMany(t, b, "t:a", 0, 3)
	z := publish(t, b, "t:z", "z")
	a = append(a, publishMany(t, b, "t:a", 3, 2)...)
	expect(t, b, "own message", "t:a", a[1], "", "2", "3", "4")
	expect(t, b, "own last message", "t:a", a[4], "")
	expect(t, b, "another channel's message", "t:a", z, "", "3", "4")
	expect(t, b, "the empty stream's end", "t:a", empty.End, "", "0", "1", "2", "3", "4")
	expect(t, b, "a pattern", "t:>", z, "", "3", "4")
	other := a[1]
	other.Time++
	expect(t, b, "another time", "t:a", other, protocol.ReasonLogChanged)
	beyond := a[4]
	beyond.Offset += 10
	expect(t, b, "beyond the end", "t:a", beyond, protocol.ReasonLogChanged)
	foreign := a[1]
	foreign.Stream[0]++
	expect(t, b, "another stream", "t:a", foreign, protocol.ReasonLogChanged)
}

func TestEvidenceDeletedMessage(t *testing.T) {
	b := open(t, config(t))
	a := publishMany(t, b, "t:a", 0, 5)
	if err := streamOf(t, b, "t:a").DeleteMsg(t.Context(), a[2].Offset); err != nil {
		t.Fatal(err)
	}
	expect(t, b, "from the deleted message", "t:a", a[2], "", "3", "4")
	expect(t, b, "from before it", "t:a", a[1], "", "3", "4")
	expect(t, b, "pattern from it", "t:*", a[2], "", "3", "4")
}

func TestEvidenceChannelLimit(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel = 5 })))
	keep := publish(t, b, "t:keep", "k") // so that the stream's front stays
	a := publishMany(t, b, "t:a", 0, 20)
	stored := []string{"14", "15", "16", "17", "18", "19"} // one more than promised
	expect(t, b, "evicted", "t:a", a[3], protocol.ReasonRetention, stored...)
	expect(t, b, "the last evicted, nothing after it lost", "t:a", a[13], "", stored...)
	expect(t, b, "the one before", "t:a", a[12], protocol.ReasonRetention, stored...)
	expect(t, b, "stored", "t:a", a[15], "", stored[2:]...)
	expect(t, b, "another channel before all", "t:a", keep, protocol.ReasonRetention, stored...)
	expect(t, b, "pattern", "t:*", a[3], protocol.ReasonRetention)
	expect(t, b, "the channel that lost nothing", "t:keep", keep, "")
	quiet := publishMany(t, b, "t:quiet", 0, 5)
	expect(t, b, "as many as promised", "t:quiet", a[19], "", "0", "1", "2", "3", "4")
	expect(t, b, "pattern over both", "t:*", a[19], "", "0", "1", "2", "3", "4")
	expect(t, b, "quiet, from its own", "t:quiet", quiet[0], "", "1", "2", "3", "4")
}

func TestEvidenceAge(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxAge = time.Second })))
	src := source(t, b, "t:a")
	a := publishMany(t, b, "t:a", 0, 3)
	eventually(t, "the messages to age out", func() bool {
		tail, err := b.Tail(t.Context(), src)
		return err == nil && tail.Last.IsZero()
	})
	tail, err := b.Tail(t.Context(), src)
	if err != nil || tail.End.Offset != a[2].Offset || tail.End.Time == 0 {
		t.Fatalf("emptied stream: %+v, %v", tail, err)
	}
	expect(t, b, "all aged out, from the first", "t:a", a[0], protocol.ReasonRetention)
	expect(t, b, "all aged out, from the last", "t:a", a[2], "")
	expect(t, b, "all aged out, from the end", "t:a", tail.End, "")
	now := publishMany(t, b, "t:a", 3, 2)
	expect(t, b, "new ones, from the first", "t:a", a[0], protocol.ReasonRetention, "3", "4")
	expect(t, b, "new ones, from the last old one", "t:a", a[2], "", "3", "4")
	expect(t, b, "new ones, from the end", "t:a", tail.End, "", "3", "4")
	expect(t, b, "from a new one", "t:a", now[0], "", "4")
}

func TestEvidenceBytes(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxMessageBytes, s.MaxBytes = 1<<10, 40<<10 })))
	big := make([]byte, 1<<10)
	var a []fanout.Position
	first := publish(t, b, "t:first", "1")
	for range 100 {
		a = append(a, publish(t, b, "t:a", string(big)))
	}
	info, err := streamOf(t, b, "t:a").Info(t.Context())
	if err != nil || info.State.FirstSeq < 50 {
		t.Fatalf("nothing was evicted: %+v, %v", info.State, err)
	}
	expect(t, b, "evicted", "t:a", a[3], protocol.ReasonRetention)
	expect(t, b, "evicted, other channel", "t:none", first, protocol.ReasonRetention)
	expect(t, b, "just before the front", "t:a", a[info.State.FirstSeq-3], "")
	expect(t, b, "one further", "t:a", a[info.State.FirstSeq-4], protocol.ReasonRetention)
	expect(t, b, "stored", "t:a", a[99], "")
	b2 := open(t, config(t)) // retention by bytes shows in the tail once the node looks again
	if tail, err := b2.Tail(t.Context(), source(t, b2, "t:a")); err != nil || tail.Retention != 24*time.Hour {
		t.Errorf("retention of an empty stream %v, %v", tail.Retention, err)
	}
}

func TestEvidencePurged(t *testing.T) {
	b := open(t, config(t))
	keep := publish(t, b, "t:keep", "k")
	a := publishMany(t, b, "t:a", 0, 5)
	if _, err := b.Purge(t.Context(), channel(t, "t:a")); err != nil {
		t.Fatal(err)
	}
	publishMany(t, b, "t:a", 5, 2)
	expect(t, b, "purged", "t:a", a[2], protocol.ReasonPurged)
	expect(t, b, "from another channel's", "t:a", keep, protocol.ReasonPurged)
	expect(t, b, "the other channel", "t:keep", keep, "")
	// A purge behind our back leaves no marker; what the front shows is said.
	if err := streamOf(t, b, "t:a").Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, b, "purged by another tool", "t:a", a[2], protocol.ReasonRetention)
}

func TestEvidenceStreamRecreated(t *testing.T) {
	b := open(t, config(t))
	h := started(t, b)
	src := source(t, b, "t:a")
	a := publishMany(t, b, "t:a", 0, 5)
	h.wait(t, "five messages", func(e []event) bool { return len(messages(e)) == 5 })
	before := b.Tag(src.Stream)
	if err := b.JetStream().DeleteStream(t.Context(), string(src.Stream)); err != nil {
		t.Fatal(err)
	}
	// The node notices, creates it again and tells the hub.
	h.wait(t, "a suspicion", func(e []event) bool {
		for _, one := range e {
			if one.msg == nil && one.suspect == src.Stream {
				return b.Tag(src.Stream) != before
			}
		}
		return false
	})
	if !b.Tag(src.Stream).SameStream(before) {
		t.Error("the stream has another name")
	}
	expect(t, b, "empty", "t:a", a[2], protocol.ReasonLogChanged)
	publishMany(t, b, "t:a", 100, 10)
	for i := range a {
		expect(t, b, fmt.Sprint("refilled, from ", i), "t:a", a[i], protocol.ReasonLogChanged)
	}
}

func TestEvidenceRolledBack(t *testing.T) {
	cfg := config(t)
	b := open(t, cfg)
	publishMany(t, b, "t:a", 0, 5)
	last := publish(t, b, "t:b", "b")
	closeNow(t, b)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(cfg.Data)); err != nil {
		t.Fatal(err)
	}
	b = open(t, cfg)
	lost := publishMany(t, b, "t:a", 5, 5)
	seen := publish(t, b, "t:c", "c")
	closeNow(t, b)
	if err := os.RemoveAll(cfg.Data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(cfg.Data, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	b = open(t, cfg)
	for i, x := range append(lost, seen) {
		expect(t, b, fmt.Sprint("beyond the copy, ", i), "t:a", x, protocol.ReasonLogChanged)
	}
	expect(t, b, "before the copy", "t:a", last, "")
	publishMany(t, b, "t:a", 500, 20)
	for i, x := range append(lost, seen) {
		expect(t, b, fmt.Sprint("sequence used again, ", i), "t:a", x, protocol.ReasonLogChanged)
	}
	// Also where what stands at the sequence now is gone again.
	if err := streamOf(t, b, "t:a").DeleteMsg(t.Context(), lost[2].Offset); err != nil {
		t.Fatal(err)
	}
	expect(t, b, "sequence used again and deleted", "t:a", lost[2], protocol.ReasonLogChanged)
}

func TestEvidenceLimitRaisedAndLowered(t *testing.T) {
	cfg := config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel = 5 }))
	b := open(t, cfg)
	keep := publish(t, b, "t:keep", "k")
	a := publishMany(t, b, "t:a", 0, 10)
	closeNow(t, b)
	cfg.Namespaces[0].MaxPerChannel = 100
	b = open(t, cfg)
	expect(t, b, "overflowed under the lower limit", "t:a", a[1], protocol.ReasonRetention)
	expect(t, b, "not overflowed", "t:a", a[6], "")
	later := publishMany(t, b, "t:a", 10, 30)
	expect(t, b, "more was stored since", "t:a", a[1], protocol.ReasonRetention)
	z := publish(t, b, "t:z", "z")
	publishMany(t, b, "t:a", 40, 20)
	expect(t, b, "more than the old limit after the change", "t:a", z, "")
	closeNow(t, b)
	cfg.Namespaces[0].MaxPerChannel = 20
	b = open(t, cfg)
	expect(t, b, "evicted by lowering", "t:a", later[0], protocol.ReasonRetention)
	expect(t, b, "other channel", "t:keep", keep, "")
	data, ok, reason, _ := judge(t, b, "t:a", z)
	if !ok || len(data) != 20 {
		t.Errorf("the newest 20 stay: %d, %s", len(data), reason)
	}
}

func TestEpochRaise(t *testing.T) {
	cfg := config(t)
	b := open(t, cfg)
	src := source(t, b, "t:a")
	publish(t, b, "t:z", "z")
	x := publish(t, b, "t:a", "1")
	y := publish(t, b, "t:b", "2")
	if err := streamOf(t, b, "t:a").DeleteMsg(t.Context(), y.Offset); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "t:z", "z")
	before := b.Tag(src.Stream)
	expect(t, b, "absent, before", "t:a", y, "")
	for range 2 { // the second sees an epoch that is gone
		if err := b.Raise(t.Context(), src.Stream, before); err != nil {
			t.Fatal(err)
		}
	}
	once := b.Tag(src.Stream)
	if once == before || !once.SameStream(before) {
		t.Fatalf("tag %s became %s", before, once)
	}
	expect(t, b, "absent, after", "t:a", y, protocol.ReasonLogChanged)
	expect(t, b, "stored, after", "t:a", x, "")
	closeNow(t, b)
	b = open(t, cfg)
	if b.Tag(src.Stream) != once {
		t.Error("the epoch changed with a clean restart")
	}
}

func TestEpochsAfterUncleanStop(t *testing.T) {
	for name, c := range map[string]struct {
		boot   string
		clean  bool
		raised bool
	}{
		"clean":                           {"other", true, false},
		"machine crashed":                 {"other", false, true},
		"machine crashed, system unknown": {"", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			b := open(t, cfg)
			publish(t, b, "t:a", "1")
			id := source(t, b, "t:a").Stream
			before := b.Tag(id)
			closeNow(t, b)
			if err := broker.SetBootID(cfg.Data, c.boot, c.clean); err != nil {
				t.Fatal(err)
			}
			b = open(t, cfg)
			after := b.Tag(id)
			if (after != before) != c.raised {
				t.Errorf("raised %v, want %v", after != before, c.raised)
			}
			closeNow(t, b)
			b = open(t, cfg)
			if b.Tag(id) != after {
				t.Error("raised again at the next start")
			}
		})
	}
}

// A process that was killed leaves the marker of this boot: nothing is lost.
func TestEpochAfterKill(t *testing.T) {
	cfg := config(t)
	b := open(t, cfg)
	publish(t, b, "t:a", "1")
	id := source(t, b, "t:a").Stream
	before := b.Tag(id)
	killed := t.TempDir()
	copyFiles(t, killed, cfg.Data) // as kill -9 leaves it
	closeNow(t, b)
	for _, name := range []string{"nats", "BOOT"} { // the directory itself stays
		if err := os.RemoveAll(filepath.Join(cfg.Data, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(killed, name), filepath.Join(cfg.Data, name)); err != nil {
			t.Fatal(err)
		}
	}
	b = open(t, cfg)
	if b.Tag(id) != before {
		t.Error("the epoch was raised")
	}
	if got := texts(read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 2}).Messages); fmt.Sprint(got) != "[1]" {
		t.Errorf("stored %v", got)
	}
}

// A copy of the directory may be an older one, whoever puts it where.
func TestEpochOfACopy(t *testing.T) {
	cfg := config(t)
	b := open(t, cfg)
	publish(t, b, "t:a", "1")
	id := source(t, b, "t:a").Stream
	before := b.Tag(id)
	closeNow(t, b)
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(cfg.Data, moved); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copied")
	copyFiles(t, copied, moved)
	cfg.Data = moved
	b = open(t, cfg)
	if b.Tag(id) != before {
		t.Error("the epoch was raised with a move of the directory")
	}
	closeNow(t, b)
	cfg.Data = copied
	b = open(t, cfg)
	after := b.Tag(id)
	if after == before {
		t.Error("a copy has the epoch of the original")
	}
	closeNow(t, b)
	if b = open(t, cfg); b.Tag(id) != after {
		t.Error("raised again at the next start")
	}
}

func copyFiles(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
