package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/fanout"
)

// folded is what a folded history of everything that is stored has, by the originals.
func folded(all []*fanout.Message, good func(original *fanout.Message) bool) (out []*fanout.Message) {
	for _, m := range all {
		if m.Kind != fanout.KindData || m.Updates != 0 || !good(m) {
			continue
		}
		latest := m
		for _, v := range all {
			if v.Kind == fanout.KindData && v.Updates == m.Offset() {
				latest = v
			}
		}
		out = append(out, latest)
	}
	return out
}

// TestFold compares folded pages with what is stored, and pages through it both ways:
// a version may be on a page far from its original, or be left alone by it.
func TestFold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		n := newNode(t, calm(uint64(rapid.SampledFrom([]int{0, 20}).Draw(r, "limit per channel")), 1), true, func(cfg *fanout.HubConfig) {
			cfg.ReadBatch = rapid.IntRange(1, 8).Draw(r, "read batch")
		})
		a := mustChannel(t, "t:a")
		n.playVersions(t, r, a)
		all := n.stored(t, "t:a")
		q := fanout.HistoryQuery{Channel: a, Limit: rapid.IntRange(1, 12).Draw(r, "limit"), Desc: rapid.Bool().Draw(r, "desc"), Fold: true}
		if len(all) > 0 {
			pick := func(what string) *fanout.Message { return all[rapid.IntRange(0, len(all)-1).Draw(r, what)] }
			switch rapid.IntRange(0, 2).Draw(r, "from") {
			case 1:
				q.After = pick("after").Position
			case 2:
				q.Since = pick("since").Position.Time
			}
			if rapid.Bool().Draw(r, "bounded above") {
				q.Before = pick("before").Position
			}
		}
		want := folded(all, func(m *fanout.Message) bool {
			return m.Offset() > q.After.Offset && m.Position.Time >= q.Since && (q.Before.IsZero() || m.Offset() < q.Before.Offset)
		})
		if q.Desc {
			slices.Reverse(want)
		}
		n.pageThrough(t, r, q, texts(want))
	})
}

func (n *node) playVersions(t *testing.T, r *rapid.T, a fanout.Channel) {
	t.Helper()
	for i := range rapid.IntRange(0, 50).Draw(r, "moves") {
		data := fmt.Sprintf("m%d", i)
		var originals []*fanout.Message
		for _, m := range n.stored(t, "t:a") {
			if m.Kind == fanout.KindData && m.Updates == 0 {
				originals = append(originals, m)
			}
		}
		switch move := rapid.IntRange(0, 9).Draw(r, "move"); {
		case move < 4 && len(originals) > 0:
			n.log.update(a, originals[rapid.IntRange(0, len(originals)-1).Draw(r, "original")].Offset(), data)
		case move == 4:
			n.log.deleteOne(a, rapid.IntRange(0, 1000).Draw(r, "deleted"), true)
		case move == 5 && rapid.IntRange(0, 4).Draw(r, "purge") == 0:
			n.log.store(a, fanout.KindPurge, "")
		default:
			n.log.store(a, fanout.KindData, data)
		}
	}
}

// TestFoldIsBounded: versions much larger than their originals make pages short, not
// large, and none is left out.
func TestFoldIsBounded(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	a := mustChannel(t, "t:a")
	const count = 20
	for i := range count {
		n.log.store(a, fanout.KindData, fmt.Sprint(i))
	}
	for i, m := range n.stored(t, "t:a") {
		n.log.update(a, m.Offset(), strings.Repeat(string(rune('a'+i)), 700<<10))
	}
	for _, desc := range []bool{false, true} {
		q := fanout.HistoryQuery{Channel: a, Limit: 100, Desc: desc, Fold: true}
		got := ""
		for {
			page, err := n.History(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			size := 0
			for i, m := range page.Messages {
				size += m.Size()
				got += string(m.Data[:1])
				if m.Updates != page.Places[i].Offset {
					t.Errorf("a version of %d in the place of %d", m.Updates, page.Places[i].Offset)
				}
			}
			if size > 5<<20 {
				t.Errorf("a page of %d bytes", size)
			}
			if !page.More {
				break
			}
			if desc {
				q.Before = page.Position
			} else {
				q.After = page.Position
			}
		}
		want := "abcdefghijklmnopqrst"
		if desc {
			want = "tsrqponmlkjihgfedcba"
		}
		if got != want {
			t.Errorf("desc %v: %s", desc, got)
		}
	}
}

// TestFoldOfNothingLeft: versions make a page too large, and then all that it has left
// is deleted, by a purge or one by one, before the fold has read that far.
func TestFoldOfNothingLeft(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]func(n *node, a fanout.Channel, first uint64){
		"purge": func(n *node, a fanout.Channel, _ uint64) { n.log.store(a, fanout.KindPurge, "") },
		"deletion": func(n *node, a fanout.Channel, first uint64) {
			n.log.mu.Lock()
			n.log.storeLocked(a, fanout.KindDeleted, "", first)
			n.log.mu.Unlock()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, calm(0, 1), true, func(cfg *fanout.HubConfig) { cfg.ReadBatch = 4 })
			a := mustChannel(t, "t:a")
			n.log.store(a, fanout.KindData, "1")
			n.log.store(a, fanout.KindData, strings.Repeat("b", 1<<20))
			first := n.stored(t, "t:a")[0]
			n.log.update(a, first.Offset(), strings.Repeat("a", 1<<20))
			for range 10 {
				n.log.update(a, 99, "x")
			}
			gone := false
			n.gate.setHold(func(_ context.Context, q fanout.Query) {
				if q.After == first.Offset() && !gone {
					gone = true
					empty(n, a, first.Offset())
				}
			})
			page, err := n.History(t.Context(), fanout.HistoryQuery{Channel: a, Limit: 2, Fold: true})
			if err != nil || !gone {
				t.Fatal(err, gone)
			}
			if len(page.Messages) > 0 || !page.More || page.Position != first.Position {
				t.Errorf("%d messages, more %v, from %v; want none of the page's, and to go on after %v", len(page.Messages), page.More, page.Position, first.Position)
			}
		})
	}
}

func TestFoldOfTooMuch(t *testing.T) {
	if testing.Short() {
		t.Skip("stores 100,001 messages") // left out only where -short asks for it; the test command does not
	}
	t.Parallel()
	n := newNode(t, calm(0, 1), true, func(cfg *fanout.HubConfig) { cfg.ReadBatch = 1000 })
	a := mustChannel(t, "t:a")
	n.log.storeMany(a, 100_002)
	_, err := n.History(t.Context(), fanout.HistoryQuery{Channel: a, Limit: 10, Fold: true})
	if in, ok := errors.AsType[*fanout.InputError](err); !ok || in.Field != "fold" {
		t.Errorf("oldest first: %v", err)
	}
	page, err := n.History(t.Context(), fanout.HistoryQuery{Channel: a, Limit: 10, Desc: true, Fold: true})
	if err != nil || len(page.Messages) != 10 || !page.More {
		t.Errorf("newest first: %d messages, %v", len(page.Messages), err)
	}
}

// storeMany stores n messages that nobody is subscribed to.
func (l *memLog) storeMany(c fanout.Channel, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streamLocked(l.partition(c))
	for range n {
		s.lastSeq++
		s.records = append(s.records, &record{seq: s.lastSeq, life: s.life, msg: fanout.Message{
			Channel: c, Stream: s.name, Data: []byte("1"), Position: fanout.Position{Stream: s.tag, Offset: s.lastSeq, Time: l.tickLocked()},
		}})
	}
}
